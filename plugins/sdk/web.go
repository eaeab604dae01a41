package sdk

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/shell/webpb"
)

// WebServer is a plugin that answers HTTP requests for the paths below /Service/<Callsign>/,
// except UI and what is below it.
type WebServer interface {
	// Web returns what answers the requests. Serve calls it once, before Initialize; the
	// requests come after Initialize has returned, several at a time, and wake the plugin like
	// calls.
	//
	// The path of a request begins with a slash and lacks /Service/<Callsign>, which the header
	// X-Forwarded-Prefix has; links are best relative. A request's context ends when the client
	// goes away. A client that may not call the plugin's method "web" is refused by the host,
	// as is a body longer than Information.MaxWebBody. What the host does not know is who the
	// person behind a client is. A flush sends what was written; other parts are sent when 32
	// KiB were written and at the end.
	Web() http.Handler
}

// webServer serves a WebServer's requests to the host.
type webServer struct {
	webpb.UnimplementedWebServer
	server  *server
	handler http.Handler
}

// Serve has the plugin's handler answer one request. A handler that panics with
// http.ErrAbortHandler breaks the answer off.
func (s webServer) Serve(stream webpb.Web_ServeServer) (err error) {
	if !s.server.initialized.Load() {
		return status.Error(codes.Unavailable, "the plugin is not initialized")
	}
	part, err := stream.Recv()
	if err != nil {
		return err
	}
	r, err := newWebRequest(stream, part)
	if err != nil {
		return err
	}
	defer func() {
		switch v := recover(); v {
		case nil:
		case http.ErrAbortHandler:
			err = status.Error(codes.Aborted, "the plugin broke the answer off")
		default:
			panic(v)
		}
	}()
	w := &webResponse{stream: stream, header: make(http.Header)}
	s.handler.ServeHTTP(w, r)
	return w.finish()
}

// newWebRequest returns the request that begins with that part.
func newWebRequest(stream webpb.Web_ServeServer, first *webpb.Request) (*http.Request, error) {
	head := first.GetHead()
	if head == nil {
		return nil, status.Error(codes.InvalidArgument, "the first message of a request has no head")
	}
	address := &url.URL{Path: "/" + head.GetPath(), RawQuery: head.GetQuery()}
	r := &http.Request{
		Method: head.GetMethod(), URL: address, RequestURI: address.RequestURI(),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: make(http.Header),
		Host: head.GetHost(), RemoteAddr: head.GetRemote(), ContentLength: head.GetContentLength(),
		Body: http.NoBody,
	}
	for _, h := range head.GetHeaders() {
		r.Header.Add(h.GetName(), string(h.GetValue()))
	}
	if r.ContentLength != 0 {
		r.Body = &webBody{stream: stream, rest: first.GetBody()}
	}
	return r.WithContext(stream.Context()), nil
}

// webBody is the body of a request.
type webBody struct {
	stream webpb.Web_ServeServer
	rest   []byte // that has come and is not read
	err    error  // of the next Read, nil while more may come
}

// Read reads what comes next.
func (b *webBody) Read(into []byte) (int, error) {
	for len(b.rest) == 0 && b.err == nil {
		var part *webpb.Request
		if part, b.err = b.stream.Recv(); b.err == nil {
			b.rest = part.GetBody()
		}
	}
	if len(b.rest) == 0 {
		return 0, b.err
	}
	n := copy(into, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

// Close gives up what has not been read.
func (b *webBody) Close() error {
	b.rest, b.err = nil, http.ErrBodyReadAfterClose
	return nil
}

// webBuffer is how many bytes of an answer are gathered before they are sent.
const webBuffer = 32 << 10

// webResponse is the answer to a request. Up to webBuffer bytes are kept, so that a short
// answer is one message.
type webResponse struct {
	stream grpc.ServerStreamingServer[webpb.Response]
	header http.Header
	status int  // 0 before WriteHeader
	sent   bool // the head was sent
	buffer []byte
	err    error // of the stream
}

var (
	_ http.Flusher  = (*webResponse)(nil)
	_ io.ReaderFrom = (*webResponse)(nil)
)

// Header returns the headers, which count until the head is sent.
func (w *webResponse) Header() http.Header { return w.header }

// WriteHeader sets the status. Only the first call counts; informational statuses are not sent.
func (w *webResponse) WriteHeader(status int) {
	if w.status == 0 && status >= http.StatusOK {
		w.status = status
	}
}

// Write adds a part of the body, and sends what has gathered if that is enough.
func (w *webResponse) Write(part []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	for rest := part; len(rest) > 0 && w.err == nil; {
		n := min(len(rest), webBuffer-len(w.buffer))
		w.buffer, rest = append(w.buffer, rest[:n]...), rest[n:]
		if len(w.buffer) == webBuffer {
			w.Flush()
		}
	}
	if w.err != nil {
		return 0, w.err
	}
	return len(part), nil
}

// ReadFrom adds all that from has, which io.Copy sends so without a buffer of its own.
func (w *webResponse) ReadFrom(from io.Reader) (n int64, err error) {
	w.WriteHeader(http.StatusOK)
	for err == nil && w.err == nil {
		if cap(w.buffer) < webBuffer {
			w.buffer = append(make([]byte, 0, webBuffer), w.buffer...)
		}
		var read int
		read, err = from.Read(w.buffer[len(w.buffer):webBuffer])
		w.buffer = w.buffer[:len(w.buffer)+read]
		n += int64(read)
		if len(w.buffer) == webBuffer {
			w.Flush()
		}
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if w.err != nil {
		err = w.err
	}
	return n, err
}

// Flush sends the head, if it was not sent yet, and what has gathered of the body.
func (w *webResponse) Flush() {
	w.WriteHeader(http.StatusOK)
	if w.err != nil || w.sent && len(w.buffer) == 0 {
		return
	}
	part := &webpb.Response{Body: w.buffer}
	if !w.sent {
		part.Head = w.head()
		w.sent = true
	}
	w.err = w.stream.Send(part)
	w.buffer = w.buffer[:0]
}

// head returns the head of the answer. Without a Content-Type it gets the one that the body
// looks like.
func (w *webResponse) head() *webpb.ResponseHead {
	if _, set := w.header["Content-Type"]; !set && len(w.buffer) > 0 {
		w.header.Set("Content-Type", http.DetectContentType(w.buffer))
	}
	head := &webpb.ResponseHead{Status: uint32(w.status)}
	for name, values := range w.header {
		for _, value := range values {
			head.Headers = append(head.Headers, &webpb.Header{Name: name, Value: []byte(value)})
		}
	}
	return head
}

// finish sends what has gathered. A body that was not sent before is sent with its length.
func (w *webResponse) finish() error {
	w.WriteHeader(http.StatusOK)
	if !w.sent && w.header.Get("Content-Length") == "" && len(w.buffer) > 0 {
		w.header.Set("Content-Length", strconv.Itoa(len(w.buffer)))
	}
	w.Flush()
	if w.err != nil {
		return fmt.Errorf("cannot send the answer: %w", w.err)
	}
	return nil
}
