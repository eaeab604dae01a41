// Package web passes HTTP requests on to a plugin that serves dormouse.web.v1.Web, and its
// answers back. It does not know who may send them, nor when the plugin takes calls.
package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc"

	"dormouse/shell/webpb"
)

// Sizes in bytes.
const (
	partSize   = 64 << 10 // of a body at once
	maxHeaders = 64 << 10 // of an answer

	// Memory is what a request takes of its body at once at most.
	Memory = 2 * partSize
	// DefaultMaxBody is how long a request's body may be if the plugin does not say.
	DefaultMaxBody = 32 << 20
)

// Errors of a request for which the plugin's answer does not count.
var (
	errNoAnswer = errors.New("the plugin did not begin to answer in time")
	errBadHead  = errors.New("the plugin's answer does not begin with a valid head")
)

// bodyError says that the client did not send the body to its end.
type bodyError struct{ error }

// Unwrap returns the error of the body.
func (e bodyError) Unwrap() error { return e.error }

// Handler passes the requests for one path of an instance on to its plugin.
type Handler struct {
	// Conn is the connection to the plugin.
	Conn grpc.ClientConnInterface
	// Callsign is the instance that the requests are for.
	Callsign string
	// Path is what the plugin is asked for, without a slash at the beginning.
	Path string
	// AnswerTime is how long the plugin has, after the end of a request, to begin its answer.
	AnswerTime time.Duration
	// Refuse answers a request that the plugin has not answered, with the error of Conn.
	Refuse func(w http.ResponseWriter, err error)
}

// ServeHTTP answers a request with what the plugin answers. An answer that the plugin or the
// client breaks off is cut off by a panic with http.ErrAbortHandler.
func (h Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head, err := h.requestHead(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	first, whole, err := readFirstPart(r)
	if err != nil {
		respondBodyError(w, err)
		return
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	stream, err := webpb.NewWebClient(h.Conn).Serve(ctx)
	if err != nil {
		h.Refuse(w, err)
		return
	}
	late := &answerLimit{giveUp: func() { cancel(errNoAnswer) }}
	defer late.end()
	_ = stream.Send(&webpb.Request{Head: head, Body: first}) // Recv tells why it failed
	if whole {
		_ = stream.CloseSend()
		late.begin(h.AnswerTime)
	} else {
		_ = http.NewResponseController(w).EnableFullDuplex() // HTTP/2 always is
		defer sendRest(r.Body, stream, cancel, func() { late.begin(h.AnswerTime) })()
	}
	began, err := respond(w, r, stream, late)
	switch cause := context.Cause(ctx); {
	case err == nil:
	case began || r.Context().Err() != nil:
		panic(http.ErrAbortHandler)
	case errors.As(cause, new(bodyError)):
		respondBodyError(w, cause)
	case errors.Is(cause, errNoAnswer):
		http.Error(w, h.Callsign+" did not begin to answer in time", http.StatusGatewayTimeout)
	case errors.Is(err, errBadHead):
		http.Error(w, h.Callsign+": "+err.Error(), http.StatusBadGateway)
	default:
		h.Refuse(w, err)
	}
}

// answerLimit gives a call up whose plugin does not begin to answer in time.
type answerLimit struct {
	giveUp func()

	mu    sync.Mutex
	ended bool
	timer *time.Timer // nil before the limit has begun
}

// begin gives the plugin that time from now on, unless it has begun to answer.
func (l *answerLimit) begin(limit time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.timer = time.AfterFunc(limit, l.giveUp)
	}
}

// end says that the plugin has begun to answer, or never will.
func (l *answerLimit) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.timer != nil {
		l.timer.Stop()
	}
}

// readFirstPart returns the first part of a request's body, and whether it is the whole one. It
// waits for a whole body if that is no longer than a part.
func readFirstPart(r *http.Request) (part []byte, whole bool, err error) {
	switch length := r.ContentLength; {
	case length == 0:
		return nil, true, nil
	case length > 0 && length <= partSize:
		part, err = io.ReadAll(r.Body)
		return part, true, err
	}
	part = make([]byte, partSize)
	n, err := r.Body.Read(part)
	if errors.Is(err, io.EOF) {
		return part[:n], true, nil
	}
	return part[:n], false, err
}

// sendRest starts to send what follows of a body, and then calls sent. If the client does not
// send all of it, the call is given up with a bodyError. wait gives up what has not been sent,
// and returns when nothing reads the body any more.
func sendRest(body io.ReadCloser, stream webpb.Web_ServeClient, giveUp context.CancelCauseFunc, sent func()) (wait func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		buffer := make([]byte, partSize)
		for {
			n, err := body.Read(buffer)
			if n > 0 && stream.Send(&webpb.Request{Body: buffer[:n]}) != nil {
				return // the plugin wants no more of it
			}
			switch {
			case errors.Is(err, io.EOF):
				_ = stream.CloseSend()
				sent()
				return
			case err != nil:
				giveUp(bodyError{err})
				return
			}
		}
	}()
	return func() {
		select {
		case <-ended:
		default:
			giveUp(nil)
			_ = body.Close()
			<-ended
		}
	}
}

// respond passes the plugin's answer on to the client. began reports whether the client was
// sent a part of it.
func respond(w http.ResponseWriter, r *http.Request, stream webpb.Web_ServeClient, late *answerLimit) (began bool, err error) {
	part, err := stream.Recv()
	late.end()
	if errors.Is(err, io.EOF) {
		err = errBadHead
	}
	if err != nil {
		return false, err
	}
	if err := copyHeaders(w.Header(), part.GetHead().GetHeaders()); err != nil {
		return false, err
	}
	status := int(part.GetHead().GetStatus())
	if status < http.StatusOK || status > 599 {
		return false, fmt.Errorf("%w: its status is %d", errBadHead, status)
	}
	w.WriteHeader(status)
	bodiless := r.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
	for ; err == nil; part, err = stream.Recv() {
		if bodiless {
			continue
		}
		if err := writeAndFlush(w, part.GetBody()); err != nil {
			return true, err
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return true, err
}

// writeAndFlush sends a part of the answer to the client, who has time for each piece of it.
func writeAndFlush(w http.ResponseWriter, part []byte) error {
	for pieces := bytes.NewBuffer(part); pieces.Len() > 0; {
		if _, err := w.Write(pieces.Next(partSize)); err != nil {
			return err
		}
	}
	return http.NewResponseController(w).Flush()
}

// respondBodyError answers a request whose body is too long, or did not come to its end.
func respondBodyError(w http.ResponseWriter, err error) {
	w.Header().Set("Connection", "close")
	if tooLong, ok := errors.AsType[*http.MaxBytesError](err); ok {
		http.Error(w, "the body has more than "+strconv.FormatInt(tooLong.Limit, 10)+" bytes", http.StatusRequestEntityTooLarge)
		return
	}
	http.Error(w, "the body could not be read", http.StatusBadRequest)
}
