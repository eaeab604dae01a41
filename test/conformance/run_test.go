package conformance

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/coder/websocket"
)

// run carries the cases out, one after the other, on one host.
type run struct {
	host      *host
	dialect   string
	transport string // ws or http

	http    overHTTP
	sockets map[string]*socket
	now     string // the socket in use

	id      int
	last    answer
	header  http.Header
	pending map[string]chan answer
}

func (r *run) applies(d directive) bool { return d.applies(r.dialect, r.transport) }

// do carries one directive out.
func (r *run) do(t *testing.T, d directive) {
	t.Helper()
	first, rest := cut(d.rest)
	switch d.verb {
	case "differs":
	case "call":
		r.send(t, r.request(first, rest), true)
	case "send":
		r.send(t, d.rest, true)
	case "notify":
		r.send(t, d.rest, false)
	case "start":
		method, params := cut(rest)
		r.begin(t, first, r.request(method, params))
	case "finish":
		r.last = <-r.pending[first]
		delete(r.pending, first)
	case "pieces":
		r.last = r.socket(t).sendInPieces(t.Context(), t, d.rest)
	case "ping":
		r.socket(t).ping(t.Context(), t)
	case "large":
		size, _ := strconv.Atoi(first)
		sent := strconv.Quote(strings.Repeat("x", size))
		r.send(t, r.request(rest, sent), true)
		if !strings.HasSuffix(r.last.body, `"result":`+sent+"}") {
			t.Errorf("line %d: an answer of %d bytes: %.200s", d.line, len(r.last.body), r.last.body)
		}
	case "pipeline":
		r.pipeline(t, first, rest)
	case "=", "!", "answer", "silence", "code", "body", "header":
		r.expect(t, d)
	case "event":
		r.expectEvent(t, first, rest)
	case "events":
		r.expectEvents(t, first, rest)
	case "quiet":
		r.expectNoEvent(t)
	case "socket":
		r.now = first
	case "thunder":
		r.now = rest
		r.sockets[rest] = newSocket(t.Context(), dialAsThunder(t, r.host, first))
	case "with":
		r.http.header.Set(first, rest)
	case "open":
		r.open(t, first)
	case "close":
		if s := r.sockets[r.now]; s != nil {
			s.close()
		}
		delete(r.sockets, r.now)
		r.now = ""
	case "get", "put", "post", "delete", "head", "options", "patch":
		r.last, r.header = r.http.do(t.Context(), t, strings.ToUpper(d.verb), first, rest)
	case "wait":
		poll(t, d.rest, func() bool { return strings.EqualFold(r.status(t, first).State, rest) })
	case "kill":
		pid := r.status(t, first).PID
		if pid <= 1 {
			t.Fatalf("line %d: %s has no process", d.line, first)
		}
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Errorf("process %d: %v", pid, err)
		}
		poll(t, "the end to be noticed", func() bool {
			now := r.status(t, first)
			return now.PID != pid && (now.PID != 0 || !strings.EqualFold(now.State, "activated"))
		})
	case "file":
		r.host.writeEmptyFile(t, d.rest)
	case "damage":
		r.host.damage(t, d.rest)
	case "restart":
		r.closeAll()
		r.host.stop(t)
		r.host.start(t)
	default:
		t.Fatalf("line %d: no such directive: %s", d.line, d.verb)
	}
}

// request makes a message with an id of its own.
func (r *run) request(method, params string) string {
	r.id++
	if params != "" {
		params = `,"params":` + params
	}
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":%q%s}`, r.id, method, params)
}

// send takes the transport of the run.
func (r *run) send(t *testing.T, message string, answered bool) {
	t.Helper()
	if r.transport == "http" {
		r.last, r.header = r.http.do(t.Context(), t, http.MethodPost, "/jsonrpc", message)
		return
	}
	r.last = r.socket(t).send(t.Context(), t, message, answered)
}

// socket is the websocket in use, opened when it is first used.
func (r *run) socket(t *testing.T) *socket {
	t.Helper()
	s, open := r.sockets[r.now]
	if !open {
		r.open(t, "/jsonrpc")
		if s = r.sockets[r.now]; s == nil {
			t.Fatalf("the websocket was refused with %d", r.last.code)
		}
	}
	return s
}

// open opens the websocket in use at that path.
func (r *run) open(t *testing.T, path string) {
	t.Helper()
	s, status := dial(t, r.host, path)
	if s != nil {
		r.sockets[r.now] = s
	}
	r.last = answer{code: status}
}

// pipeline sends requests without waiting, and wants each answered once, in
// whatever order.
func (r *run) pipeline(t *testing.T, count, method string) {
	t.Helper()
	n, _ := strconv.Atoi(count)
	s, unanswered := r.socket(t), make(map[int]bool)
	for range n {
		message := r.request(method, "")
		unanswered[r.id] = true
		if err := s.conn.Write(t.Context(), websocket.MessageText, []byte(message)); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		text := next(t.Context(), t, s.answers)
		var a struct {
			ID    int             `json:"id"`
			Error json.RawMessage `json:"error"`
		}
		if err := json.Unmarshal([]byte(text), &a); err != nil || !unanswered[a.ID] || a.Error != nil {
			t.Errorf("not expected: %s", text)
		}
		delete(unanswered, a.ID)
	}
}

// begin sends a request whose answer is taken later, on a connection of its own.
func (r *run) begin(t *testing.T, name, message string) {
	t.Helper()
	done := make(chan answer, 1)
	r.pending[name] = done
	ctx := context.WithoutCancel(t.Context())
	go func() { done <- r.http.post(ctx, t, message) }()
}

func (r *run) expect(t *testing.T, d directive) {
	t.Helper()
	var err error
	switch d.verb {
	case "=":
		err = match(fmt.Sprintf(`{"jsonrpc":"2.0","id":"*","result":%s}`, d.rest), r.last.body)
	case "!":
		code, text := cut(d.rest)
		if text == "" {
			text = "*"
		}
		err = match(fmt.Sprintf(`{"jsonrpc":"2.0","id":"*","error":{"code":%s,"message":%q,"…":1}}`, code, text), r.last.body)
	case "answer":
		err = match(d.rest, r.last.body)
	case "silence":
		if r.last.body != "" {
			err = fmt.Errorf("an answer: %s", r.last.body)
		}
	case "code":
		if want, _ := strconv.Atoi(d.rest); r.last.code != want {
			err = fmt.Errorf("HTTP status %d instead of %d: %s", r.last.code, want, r.last.body)
		}
	case "body":
		if !matchText(d.rest, r.last.body) {
			err = fmt.Errorf("the body %q instead of %q", r.last.body, d.rest)
		}
	case "header":
		name, want := cut(d.rest)
		if got := r.header.Get(name); !matchText(want, got) {
			err = fmt.Errorf("the header %s %q instead of %q", name, got, want)
		}
	}
	if err != nil {
		t.Errorf("line %d: %v", d.line, err)
	}
}

func (r *run) expectEvent(t *testing.T, method, params string) {
	t.Helper()
	event := next(t.Context(), t, r.socket(t).events)
	if err := match(fmt.Sprintf(`{"jsonrpc":"2.0","method":%q,"params":%s}`, method, params), event); err != nil {
		t.Errorf("event %s: %v", event, err)
	}
}

// expectEvents expects all notifications that have come by the answer of one more request, at
// least one.
func (r *run) expectEvents(t *testing.T, method, params string) {
	t.Helper()
	r.expectEvent(t, method, params)
	s := r.socket(t)
	s.send(t.Context(), t, r.request("Controller.1.framework", ""), true)
	for len(s.events) > 0 {
		r.expectEvent(t, method, params)
	}
}

// expectNoEvent asks for something once more: what was to come first has come by
// then.
func (r *run) expectNoEvent(t *testing.T) {
	t.Helper()
	s := r.socket(t)
	s.send(t.Context(), t, r.request("Controller.1.framework", ""), true)
	select {
	case event := <-s.events:
		t.Errorf("one more event: %s", event)
	default:
	}
}

// record is what a case needs of an instance's status.
type record struct {
	State string `json:"state"`
	PID   int    `json:"pid"`
}

func (r *run) status(t *testing.T, callsign string) record {
	t.Helper()
	text := r.http.post(t.Context(), t, r.request("Controller.1.status@"+callsign, "")).body
	var one struct{ Result record }
	var many struct{ Result []record }
	if json.Unmarshal([]byte(text), &many) == nil && len(many.Result) == 1 {
		return many.Result[0]
	}
	if err := json.Unmarshal([]byte(text), &one); err != nil {
		t.Fatalf("the status of %s is %s", callsign, text)
	}
	return one.Result
}

func (r *run) closeAll() {
	for name, s := range r.sockets {
		s.close()
		delete(r.sockets, name)
	}
	r.now = ""
}
