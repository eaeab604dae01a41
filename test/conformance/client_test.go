package conformance

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/coder/websocket"
)

// answer is what came back for one message.
type answer struct {
	body string // empty for none
	code int    // of HTTP, 0 on a websocket
}

// overHTTP sends each request on its own.
type overHTTP struct {
	host   *host
	header http.Header // of each request
}

func (c overHTTP) post(ctx context.Context, t *testing.T, message string) answer {
	t.Helper()
	a, _ := c.do(ctx, t, http.MethodPost, "/jsonrpc", message)
	return a
}

func (c overHTTP) do(ctx context.Context, t *testing.T, method, path, body string) (answer, http.Header) {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+c.host.address+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header, r.Host = c.header, c.header.Get("Host")
	plain := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := plain.Do(r)
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
		return answer{}, nil
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return answer{strings.TrimSpace(string(text)), response.StatusCode}, response.Header
}

// messageConn is a connection of a client that carries messages.
type messageConn interface {
	Read(context.Context) (websocket.MessageType, []byte, error)
	Write(context.Context, websocket.MessageType, []byte) error
	CloseNow() error
}

// socket is one websocket. What it is sent is told apart as answers and
// notifications.
type socket struct {
	conn    messageConn
	answers chan string
	events  chan string
	read    chan struct{} // closed when nothing more comes
}

// dial opens a websocket at that path. It returns nil and the HTTP status if the host
// refuses the websocket.
func dial(t *testing.T, h *host, path string) (_ *socket, status int) {
	t.Helper()
	conn, response, err := websocket.Dial(t.Context(), "ws://"+h.address+path, //nolint:bodyclose // Dial says that it has none
		&websocket.DialOptions{Subprotocols: []string{"notification"}})
	if response == nil {
		t.Fatal(err)
	}
	if err != nil {
		return nil, response.StatusCode
	}
	conn.SetReadLimit(16 << 20)
	return newSocket(t.Context(), conn), response.StatusCode
}

// newSocket reads from the connection until it ends.
func newSocket(ctx context.Context, conn messageConn) *socket {
	s := &socket{conn: conn, answers: make(chan string, 1000), events: make(chan string, 1000), read: make(chan struct{})}
	ctx = context.WithoutCancel(ctx)
	go func() {
		defer close(s.read)
		for {
			_, message, err := conn.Read(ctx)
			if err != nil {
				return
			}
			if isNotification(message) {
				s.events <- string(message)
			} else {
				s.answers <- string(message)
			}
		}
	}()
	return s
}

// isNotification tells what the server says by itself from its answers, also
// from those that have no id.
func isNotification(message []byte) bool {
	var m struct {
		Method string `json:"method"`
	}
	return !bytes.HasPrefix(bytes.TrimSpace(message), []byte("[")) && json.Unmarshal(message, &m) == nil && m.Method != ""
}

func (s *socket) send(ctx context.Context, t *testing.T, message string, answered bool) answer {
	t.Helper()
	if err := s.conn.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
		t.Error(err)
		return answer{}
	}
	if !answered {
		return answer{}
	}
	return answer{body: next(ctx, t, s.answers)}
}

// sendInPieces sends one message in three frames.
func (s *socket) sendInPieces(ctx context.Context, t *testing.T, message string) answer {
	t.Helper()
	w, err := s.standardConn(t).Writer(ctx, websocket.MessageText)
	if err != nil {
		t.Fatal(err)
	}
	third := len(message) / 3
	for _, piece := range []string{message[:third], message[third : 2*third], message[2*third:]} {
		if _, err := io.WriteString(w, piece); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return answer{body: next(ctx, t, s.answers)}
}

func (s *socket) ping(ctx context.Context, t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := s.standardConn(t).Ping(ctx); err != nil {
		t.Error(err)
	}
}

// standardConn returns the connection of a client that is not one of the raw Thunder clients;
// for those it fails the test.
func (s *socket) standardConn(t *testing.T) *websocket.Conn {
	t.Helper()
	conn, ok := s.conn.(*websocket.Conn)
	if !ok {
		t.Fatalf("a %T can't do this", s.conn)
	}
	return conn
}

func (s *socket) close() {
	_ = s.conn.CloseNow()
	<-s.read
}

// next takes what must come.
func next(ctx context.Context, t *testing.T, from <-chan string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	select {
	case message := <-from:
		return message
	case <-ctx.Done():
		t.Error("nothing came")
		return ""
	}
}
