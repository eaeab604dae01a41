package controller

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"
	"github.com/rs/zerolog"

	"dormouse/internal/jsonrpc"
	"dormouse/plugins/controller/lenient"
	"dormouse/plugins/peer"
)

// socket is one websocket. It serves the client's requests in parallel, and sends
// answers and events in one order.
type socket struct {
	front      *Front
	from       caller
	ws         *websocket.Conn
	conn       *heardConn // under ws, for write deadlines and for closing at once
	queue      *sendQueue
	connection *connection
	place      *peer.Place
	share      *peer.Share // what the client has of the host's memory
	log        zerolog.Logger

	ctx    context.Context // of the client's calls; ends with the connection
	cancel context.CancelFunc

	// readPauses counts when the reader began to wait for a call to end, and when
	// it read on: it is odd while the reader waits.
	readPauses atomic.Int64
	// The front's subscribers guard these two.
	subscriptions, subscriptionBytes int
}

// upgradeAndServeWebsocket turns the connection into a websocket for the instance in the
// caller's path, and serves it until it ends. It answers 503 if there is no place for the
// client's websocket, and closes the websocket at once if the front is closed.
func (f *Front) upgradeAndServeWebsocket(w http.ResponseWriter, r *http.Request, from caller) {
	spoken, err := f.dialectOfRequest(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	s := &socket{
		front: f,
		log:   f.log.With().Stringer("client", from.client).Logger(),
	}
	s.connection = connectionFromContext(r.Context())
	from.socket, from.dialect = s, spoken
	s.from = from
	if err := s.takePlace(); err != nil {
		f.strangers.Warn().Err(err).Stringer("client", from.client).Msg("refused a websocket")
		http.Error(w, "too many websockets: "+err.Error(), http.StatusServiceUnavailable)
		return
	}
	defer s.place.Free()
	s.share = from.share
	s.queue = newSendQueue(f.limits.queueLength, f.limits.queueBytes, s.share)
	defer f.connections.removeIfWebsocket(s.connection)
	s.ctx, s.cancel = context.WithCancel(f.ctx)
	defer s.cancel()
	h := hijacker{ResponseWriter: w, takesUnmaskedFrames: !mayBeFromPage(r)}
	ws, err := websocket.Accept(&h, r, &websocket.AcceptOptions{
		Subprotocols:       firstRequestedProtocol(r.Header),
		InsecureSkipVerify: true, // the browser guard has checked the origin
	})
	if err != nil {
		s.log.Debug().Err(err).Msg("refused a websocket")
		return
	}
	ws.SetReadLimit(f.limits.messageBytes)
	s.ws, s.conn = ws, h.conn
	if !f.addSocketUnlessClosed(s) {
		s.closeGoingAway()
		return
	}
	defer f.removeSocket(s)
	s.place.End()        // from now on it may give way
	s.serveUntilClosed() //nolint:contextcheck // reading ends with the connection; a context would cost a timer for each frame
}

// takePlace takes a place for the websocket, which does not give way yet. The error says
// what is full.
func (s *socket) takePlace() (err error) {
	entrance, limits := &s.front.tcp, s.front.limits.tcp
	if s.connection != nil {
		entrance, limits = s.front.entranceOf(s.connection.conn)
	}
	s.place, err = entrance.websockets.Take(limits.websockets, s.from.client, func() { s.cutOff("a new websocket needs its place") })
	s.place.Begin()
	return err
}

// addSocketUnlessClosed adds a websocket to the front's. It returns false if the front is
// closed.
func (f *Front) addSocketUnlessClosed(s *socket) (added bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.sockets[s] = true
	}
	return !f.closed
}

// removeSocket takes a websocket that has ended off the front's list.
func (f *Front) removeSocket(s *socket) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sockets, s)
}

// serveUntilClosed serves the client of the websocket. It returns when the connection and
// all calls on it have ended, and the websocket's subscriptions are removed.
func (s *socket) serveUntilClosed() {
	var own, calls sync.WaitGroup
	own.Go(s.writeQueuedMessages)
	own.Go(s.pingOrCutOff)
	err := s.readAndServeMessages(&calls)
	s.log.Debug().Err(err).Msg("a websocket ended")
	s.cancel()
	s.queue.closeAndDropAll()
	_ = s.ws.CloseNow()
	calls.Wait()
	s.front.events.removeAllOfSocket(s)
	own.Wait()
}

// readAndServeMessages serves each of the client's messages in a goroutine of calls until the
// connection ends. It returns why. A binary message ends the connection.
func (s *socket) readAndServeMessages(calls *sync.WaitGroup) error {
	slots := make(chan struct{}, s.front.limits.calls)
	piece := make([]byte, 4<<10)
	for {
		kind, reader, err := s.ws.Reader(context.Background())
		if err != nil {
			return err
		}
		if kind != websocket.MessageText {
			_ = s.ws.Close(websocket.StatusUnsupportedData, "only text messages")
			return errors.New("the client sent a binary message")
		}
		message, taken, err := s.readMessage(reader, piece)
		if err != nil && !errors.Is(err, peer.ErrNoMemory) {
			return err
		}
		s.connection.noteActivity("")
		switch {
		case err != nil:
			s.readPauses.Add(1)
			s.queue.waitAndPutAnswer(s.front.refuseForMemory(s.from, message).body)
			s.readPauses.Add(1)
			s.share.GiveBack(taken)
			continue
		case isSubscriptionRequest(message):
			s.answerBeforeReadingOn(message)
			s.share.GiveBack(taken)
			continue
		}
		if err := s.waitAndBeginCall(slots); err != nil {
			s.share.GiveBack(taken)
			return err
		}
		calls.Go(func() {
			s.answer(message)
			s.share.GiveBack(taken)
			s.endCall(slots)
		})
	}
}

// readMessage reads a message to its end, piece by piece, and takes the memory of it and of its call out of
// the client's share. If there is no room it returns ErrNoMemory, with the beginning of the
// message. What it returns as taken must be given back, unless there is another error.
func (s *socket) readMessage(reader io.Reader, piece []byte) (message []byte, taken int, err error) {
	refused := s.share.Take(bytesOfCall)
	if refused == nil {
		taken = bytesOfCall
	}
	for {
		n, err := reader.Read(piece)
		more := bytesWithMessage(n) - bytesOfCall
		if refused == nil {
			refused = s.share.Take(more)
		}
		if refused == nil {
			taken += more
			message = append(message, piece[:n]...)
		}
		switch {
		case errors.Is(err, io.EOF):
			return message, taken, refused
		case err != nil:
			s.share.GiveBack(taken)
			return nil, 0, err
		}
	}
}

// answer serves a message and queues the answer, if there is one.
func (s *socket) answer(message []byte) {
	answer := s.front.answerMessage(s.ctx, s.from, message)
	defer answer.release()
	if answer.body != nil {
		s.queue.waitAndPutAnswer(answer.body)
	}
}

// answerBeforeReadingOn serves a message before the next one is read: the calls that follow
// a subscription find it made, also if the client has not waited for the answer.
func (s *socket) answerBeforeReadingOn(message []byte) {
	s.readPauses.Add(1)
	defer s.readPauses.Add(1)
	s.answer(message)
}

// isSubscriptionRequest reports whether the message is a request to register or
// unregister.
func isSubscriptionRequest(message []byte) bool {
	if !bytes.Contains(message, []byte("register")) { // spares almost every message a second parsing
		return false
	}
	m, err := jsonrpc.Split(message)
	if err != nil || m.Batch {
		return false
	}
	d, err := jsonrpc.ParseDesignator(m.Requests[0].Method)
	return err == nil && (d.Method == "register" || d.Method == "unregister")
}

// waitAndBeginCall waits until another call of this websocket may run. It puts a value into
// slots; endCall takes it out. It returns an error if the connection ends first.
func (s *socket) waitAndBeginCall(slots chan struct{}) error {
	select {
	case slots <- struct{}{}:
		s.place.Begin()
		return nil
	default:
	}
	s.readPauses.Add(1)
	defer s.readPauses.Add(1)
	select {
	case slots <- struct{}{}:
		s.place.Begin()
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// endCall ends what waitAndBeginCall began.
func (s *socket) endCall(slots chan struct{}) {
	s.place.End()
	<-slots
}

// writeQueuedMessages sends the messages in the queue until the connection ends. A client
// that does not take a message within the time limit is cut off.
func (s *socket) writeQueuedMessages() {
	var messages [][]byte
	for {
		if messages = s.queue.waitAndTakeAll(messages); messages == nil {
			return
		}
		for _, m := range messages {
			_ = s.conn.SetWriteDeadline(time.Now().Add(s.front.limits.writeTime))
			err := s.writeMessage(m)
			switch {
			case errors.Is(err, os.ErrDeadlineExceeded):
				s.cutOff("it does not take what it is sent")
				return
			case err != nil:
				_ = s.conn.Close()
				return
			}
		}
		_ = s.conn.SetWriteDeadline(time.Time{}) // else the next ping would fail at this deadline
	}
}

// maxFrameBytes is the length of the longest frame that Thunder's C++ client reads.
const maxFrameBytes = 1<<16 - 1

// writeMessage sends a message in frames of at most maxFrameBytes.
func (s *socket) writeMessage(m []byte) error {
	ctx := context.Background()
	if len(m) <= maxFrameBytes {
		return s.ws.Write(ctx, websocket.MessageText, m)
	}
	w, err := s.ws.Writer(ctx, websocket.MessageText)
	if err != nil {
		return err
	}
	for piece := range slices.Chunk(m, maxFrameBytes) {
		if _, err := w.Write(piece); err != nil {
			return err
		}
	}
	return w.Close()
}

// queueEventOrCutOff queues an event. A client that does not keep up is cut off: it would
// miss events without knowing.
func (s *socket) queueEventOrCutOff(event []byte) {
	if s.queue.addEventUnlessFull(event) {
		s.cutOff("it is too slow for its events")
	}
}

// pingOrCutOff pings the client until the connection ends, and cuts the client off if
// nothing at all came from it between a ping and the end of the time for the next one's
// pong: Thunder's clients answer with an empty pong, and some with none. While no message is
// read, the client need not answer.
func (s *socket) pingOrCutOff() {
	tick := time.NewTicker(s.front.limits.pingEvery)
	defer tick.Stop()
	heard := int64(-1) // at the last ping; a client begins alive
	for {
		select {
		case <-s.ctx.Done():
			return
		case <-tick.C:
		}
		pauses, before := s.readPauses.Load(), heard
		heard = s.conn.heard.Load()
		limited, cancel := context.WithTimeout(s.ctx, s.front.limits.pongTime)
		err := s.ws.Ping(limited)
		cancel()
		// While the reader waits for a call to end, it sees no pong.
		waited := pauses%2 == 1 || s.readPauses.Load() != pauses
		if err != nil && !waited && s.conn.heard.Load() == before && s.ctx.Err() == nil {
			s.cutOff("it does not answer a ping")
			return
		}
	}
}

// cutOff closes the connection at once, and logs why unless the connection was closed
// already. serveUntilClosed then ends the calls.
func (s *socket) cutOff(why string) {
	s.cancel()
	s.queue.closeAndDropAll()
	if err := s.conn.Close(); err == nil {
		s.log.Warn().Str("reason", why).Msg("cut a client off")
	}
}

// closeGoingAway closes the connection with a closing frame, because the host ends.
func (s *socket) closeGoingAway() {
	_ = s.ws.Close(websocket.StatusGoingAway, "the host ends")
}

// firstRequestedProtocol returns the first subprotocol that the client asks for, or nil.
// Thunder's clients fail if the host does not confirm it, whatever it is called.
func firstRequestedProtocol(h http.Header) []string {
	first, _, _ := strings.Cut(h.Get("Sec-WebSocket-Protocol"), ",")
	if first = strings.TrimSpace(first); first == "" {
		return nil
	}
	return []string{first}
}

// hijacker is a ResponseWriter that keeps the connection that was hijacked from it.
type hijacker struct {
	http.ResponseWriter
	// takesUnmaskedFrames is set if the client may leave its frames unmasked, as
	// Thunder's C++ client does. A browser never does.
	takesUnmaskedFrames bool
	conn                *heardConn
}

// Hijack takes the connection over from the http.Server and keeps it in conn.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn = &heardConn{Conn: conn}
	if !h.takesUnmaskedFrames {
		return h.conn, rw, nil
	}
	sent, _ := rw.Peek(rw.Reader.Buffered())
	frames := lenient.NewFrameConn(h.conn, bytes.Clone(sent))
	rw.Reader.Reset(frames)
	return frames, rw, nil
}

// heardConn is a connection that counts how often something came from the other end.
type heardConn struct {
	net.Conn
	heard atomic.Int64
}

// Read reads from the connection.
func (c *heardConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 {
		c.heard.Add(1)
	}
	return n, err
}
