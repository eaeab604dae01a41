package controller

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// patience is how long a test waits for what must happen.
const patience = 10 * time.Second

// client is one websocket of a test.
type client struct {
	tb testing.TB
	ws *websocket.Conn
}

func (h *host) dial(tb testing.TB, path string) *client {
	tb.Helper()
	c, _, err := h.tryDial(tb, path, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// tryDial returns the response to the upgrade, also when the host refuses it.
func (h *host) tryDial(tb testing.TB, path string, o *websocket.DialOptions) (*client, answer, error) {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	url := "ws" + strings.TrimPrefix(h.server.URL, "http") + path
	ws, response, err := websocket.Dial(ctx, url, o) //nolint:bodyclose // Dial says that it must not be
	if err != nil {
		if response == nil {
			return nil, answer{}, err
		}
		return nil, answer{status: response.StatusCode}, err
	}
	ws.SetReadLimit(-1)
	tb.Cleanup(func() { _ = ws.CloseNow() })
	return &client{tb, ws}, answer{status: response.StatusCode, header: response.Header}, nil
}

func (c *client) send(message string) {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(c.tb.Context(), patience)
	defer cancel()
	if err := c.ws.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
		c.tb.Fatal(err)
	}
}

func (c *client) receive() string {
	c.tb.Helper()
	ctx, cancel := context.WithTimeout(c.tb.Context(), patience)
	defer cancel()
	kind, message, err := c.ws.Read(ctx)
	if err != nil {
		c.tb.Fatal(err)
	}
	if kind != websocket.MessageText {
		c.tb.Fatalf("got a message of type %v", kind)
	}
	return string(message)
}

// expect compares the next messages byte for byte.
func (c *client) expect(messages ...string) {
	c.tb.Helper()
	var got []string
	for range messages {
		got = append(got, c.receive())
	}
	if diff := cmp.Diff(messages, got); diff != "" {
		c.tb.Fatalf("messages (-want +got):\n%s", diff)
	}
}

// do calls a method and returns the answer; nothing else may come before it.
func (c *client) do(method, params string) string {
	c.tb.Helper()
	c.send(call(method, params))
	return c.receive()
}

// must calls a method whose result does not matter.
func (c *client) must(method, params string) {
	c.tb.Helper()
	if answer := c.do(method, params); strings.Contains(answer, `"error"`) {
		c.tb.Fatalf("%s: %s", method, answer)
	}
}

func call(method, params string) string {
	m := `{"jsonrpc":"2.0","id":1,"method":"` + method + `"`
	if params != "" {
		m += `,"params":` + params
	}
	return m + "}"
}

// answer is what HTTP answered.
type answer struct {
	status int
	header http.Header
	body   string
}

func (h *host) post(t *testing.T, path, body string) (int, string) {
	t.Helper()
	a := h.request(t, http.MethodPost, path, body, "Content-Type", "application/json")
	return a.status, a.body
}

func (h *host) request(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, h.server.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	read, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(read)}
}

// raw sends bytes as they are and reads one answer.
func (h *host) raw(t *testing.T, send string) answer {
	t.Helper()
	conn := h.connect(t)
	if _, err := io.WriteString(conn, send); err != nil {
		t.Fatal(err)
	}
	return readAnswer(t, conn, bufio.NewReader(conn))
}

// readAnswer reads the next answer of a connection.
func readAnswer(t *testing.T, conn net.Conn, from *bufio.Reader) answer {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(from, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{response.StatusCode, response.Header, string(body)}
}

// waitForLog returns once the text has been logged.
func (h *host) waitForLog(t *testing.T, text string) {
	t.Helper()
	late := time.After(patience)
	for {
		lines, changed := h.log.read()
		if strings.Contains(lines, text) {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%q was not logged; the log is:\n%s", text, lines)
		}
	}
}

func decode[T any](t *testing.T, answer string) T {
	t.Helper()
	var a struct {
		Result T
		Error  any
	}
	decoder := json.NewDecoder(bytes.NewReader([]byte(answer)))
	if err := decoder.Decode(&a); err != nil {
		t.Fatalf("%s: %v", answer, err)
	}
	if a.Error != nil {
		t.Fatalf("got an error: %s", answer)
	}
	return a.Result
}
