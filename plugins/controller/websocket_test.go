package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/plugins/peer"
	"dormouse/shell"
)

func TestUpgrade(t *testing.T) {
	h := newHost(t, setup{host: configs.Host{AllowedOrigins: []string{"https://remote.example"}}})
	for _, tt := range []struct {
		path     string
		offered  []string
		origin   string
		status   int
		protocol string
	}{
		{path: "/jsonrpc", status: 101},
		{path: "/jsonrpc/", status: 101},
		{path: "/jsonrpc?token=secret", status: 101},
		{path: "/jsonrpc/P", offered: []string{"notification"}, status: 101, protocol: "notification"},
		{path: "/jsonrpc/org.test.Dotted?dialect=r5", offered: []string{"JSON", "raw"}, status: 101, protocol: "JSON"},
		{path: "/Service/org.test.Dotted", offered: []string{"raw"}, status: 101, protocol: "raw"},
		{path: "/Service", offered: []string{"json"}, status: 101, protocol: "json"},
		{path: "/Service/P", offered: []string{"JSON"}, status: 101, protocol: "JSON"},
		{path: "/Service/P", offered: []string{"bogus", "json"}, status: 101, protocol: "bogus"},
		{path: "/jsonrpc/Nope", status: 503},
		{path: "/Service/Nope", status: 503},
		{path: "/elsewhere", status: 404},
		{path: "/jsonrpc", origin: "https://remote.example", status: 101},
		{path: "/jsonrpc", origin: "https://evil.example", status: 403},
	} {
		o := &websocket.DialOptions{Subprotocols: tt.offered, HTTPHeader: http.Header{}}
		if tt.origin != "" {
			o.HTTPHeader.Set("Origin", tt.origin)
		}
		c, got, err := h.tryDial(t, tt.path, o)
		if protocol := got.header.Get("Sec-WebSocket-Protocol"); got.status != tt.status || protocol != tt.protocol {
			t.Errorf("%s with %v: got %d and %q, %v", tt.path, tt.offered, got.status, protocol, err)
		}
		if c != nil {
			c.must("exists", `{"method":"exists"}`)
		}
	}
	if lines, _ := h.log.read(); strings.Contains(lines, "secret") {
		t.Error("the token was logged")
	}
}

func TestCallsInParallel(t *testing.T) {
	const calls = 60
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc/Plain")
	for i := range calls {
		c.send(fmt.Sprintf(`{"id":%d,"method":"wait"}`, i))
	}
	plain := h.plugins["Plain"]
	for range calls {
		<-plain.entered // all of them run at once
	}
	close(plain.release)
	answered := make(map[int]bool)
	for range calls {
		var answer struct {
			ID     int
			Result string
		}
		if err := json.Unmarshal([]byte(c.receive()), &answer); err != nil || answer.Result != "waited" || answered[answer.ID] {
			t.Fatalf("got %+v, %v", answer, err)
		}
		answered[answer.ID] = true
	}
}

// Beyond the limit reading waits; nothing is lost, and the connection lives
// although its pongs are not read meanwhile.
func TestCallsBeyondTheLimitWait(t *testing.T) {
	const pong = 300 * time.Millisecond
	h := newHost(t, setup{limits: func(l *limits) {
		l.calls, l.pingEvery, l.pongTime = 2, time.Millisecond, pong
	}})
	c := h.dial(t, "/jsonrpc/Plain")
	answers := make(chan string)
	go func() { // reads, so that pings are answered
		defer close(answers)
		for range 4 {
			_, answer, err := c.ws.Read(t.Context())
			if err != nil {
				return
			}
			answers <- string(answer)
		}
	}()
	for range 4 {
		c.send(call("wait", ""))
	}
	plain := h.plugins["Plain"]
	<-plain.entered
	<-plain.entered
	s := h.onlySocket(t)
	eventually(t, func() bool { return s.readPauses.Load()%2 == 1 })
	select {
	case <-plain.entered:
		t.Error("a third call was let in")
	case <-time.After(2 * pong):
	}
	close(plain.release)
	for range 4 {
		if answer, ok := <-answers; !ok || answer != `{"jsonrpc":"2.0","id":1,"result":"waited"}` {
			t.Fatalf("got %s", answer)
		}
	}
}

func TestLargeMessages(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc/Plain")
	for _, size := range []int{1 << 10, 4 << 10, 64 << 10, 1<<20 - 100} {
		text := `"` + strings.Repeat("x", size) + `"`
		if diff := cmp.Diff(`{"jsonrpc":"2.0","id":1,"result":`+text+`}`, c.do("echo", text)); diff != "" {
			t.Errorf("%d bytes came back changed", size)
		}
	}
	_ = c.ws.Write(t.Context(), websocket.MessageText, make([]byte, 1<<20+1))
	if status := c.end(); status != websocket.StatusMessageTooBig {
		t.Errorf("closed with %v", status)
	}
}

func TestFragmentsAndControlFrames(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc/Plain")
	w, err := c.ws.Writer(t.Context(), websocket.MessageText)
	if err != nil {
		t.Fatal(err)
	}
	for part := range strings.SplitSeq(call("echo", "12"), "1") {
		if _, err := io.WriteString(w, part+"1"); err != nil {
			t.Fatal(err)
		}
	}
	_ = w.Close() // one "1" too many: refused as a whole
	if answer := c.receive(); !strings.Contains(answer, `"code":-32700`) {
		t.Errorf("got %s", answer)
	}
	ponged := make(chan error)
	go func() { ponged <- c.ws.Ping(t.Context()) }()
	go func() {
		if err := <-ponged; err != nil {
			t.Error(err)
		}
		_ = c.ws.Write(t.Context(), websocket.MessageText, []byte(call("echo", "3")))
	}()
	c.expect(`{"jsonrpc":"2.0","id":1,"result":3}`)
}

func TestBinaryIsRefused(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc")
	if err := c.ws.Write(t.Context(), websocket.MessageBinary, []byte(call("Plain.1.echo", ""))); err != nil {
		t.Fatal(err)
	}
	if status := c.end(); status != websocket.StatusUnsupportedData {
		t.Errorf("closed with %v", status)
	}
}

func TestNotification(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc/Plain")
	c.must("register", `{"event":"changed","id":"c"}`)
	c.send(`{"method":"event","params":1}`)
	c.expect(`{"jsonrpc":"2.0","method":"c.changed","params":1}`)
	if got := c.do("echo", "2"); got != `{"jsonrpc":"2.0","id":1,"result":2}` {
		t.Errorf("got %s", got)
	}
}

// A client that does not read must not hold up the plugin that it listens to.
func TestSlowSubscriberIsCutOff(t *testing.T) {
	h := newHost(t, setup{limits: func(l *limits) { l.queueLength = 8 }})
	slow, quick := h.dial(t, "/jsonrpc/Plain"), h.dial(t, "/jsonrpc/Plain")
	slow.must("register", `{"event":"changed","id":"slow"}`)
	quick.must("register", `{"event":"other","id":"quick"}`)

	big := shell.Notification{Event: "changed", Params: json.RawMessage(`"` + strings.Repeat("x", 256<<10) + `"`)}
	for i := 0; h.events.subscriptionCount("Plain") == 2; i++ {
		if i == 10_000 {
			t.Fatal("the slow client was not cut off")
		}
		h.Notification("Plain", big)
	}
	h.waitForLog(t, "cut a client off")
	h.Notification("Plain", shell.Notification{Event: "other", Params: json.RawMessage(`1`)})
	quick.expect(`{"jsonrpc":"2.0","method":"quick.other","params":1}`)
	h.waitForSockets(t, 1)
}

func TestClientThatTakesNoAnswerIsCutOff(t *testing.T) {
	h := newHost(t, setup{limits: func(l *limits) { l.queueLength, l.writeTime = 1, 50*time.Millisecond }})
	c := h.dial(t, "/jsonrpc/Plain")
	big := call("echo", `"`+strings.Repeat("x", 512<<10)+`"`)
	for range 1000 {
		if err := c.ws.Write(t.Context(), websocket.MessageText, []byte(big)); err != nil {
			break
		}
	}
	h.waitForLog(t, "it does not take what it is sent")
	h.waitForSockets(t, 0)
}

func TestDeadPeerIsFound(t *testing.T) {
	h := newHost(t, setup{limits: func(l *limits) { l.pingEvery, l.pongTime = 20*time.Millisecond, 20*time.Millisecond }})
	h.dial(t, "/jsonrpc") // never reads, so it never answers a ping
	h.waitForLog(t, "it does not answer a ping")
	h.waitForSockets(t, 0)
}

// The time that a client has for one message must not run against the next ping.
func TestQuietClientIsKept(t *testing.T) {
	h := newHost(t, setup{limits: func(l *limits) { l.writeTime, l.pingEvery = 5*time.Millisecond, 20*time.Millisecond }})
	var pings atomic.Int64
	c, _, err := h.tryDial(t, "/jsonrpc", &websocket.DialOptions{OnPingReceived: func(context.Context, []byte) bool {
		pings.Add(1)
		return true
	}})
	if err != nil {
		t.Fatal(err)
	}
	c.must("Plain.1.register", `{"event":"changed","id":"c"}`)
	told := make(chan string)
	go func() {
		_, message, err := c.ws.Read(t.Context()) // answers pings
		told <- fmt.Sprintf("%s, %v", message, err)
	}()
	eventually(t, func() bool { return pings.Load() >= 3 || len(h.openSockets()) == 0 })
	h.Notification("Plain", shell.Notification{Event: "changed", Params: json.RawMessage(`1`)})
	if got := <-told; got != `{"jsonrpc":"2.0","method":"c.changed","params":1}, <nil>` {
		t.Errorf("got %s", got)
	}
}

// A websocket gives way once it has been idle for long enough: without calls and
// subscriptions.
func TestWebsocketLimit(t *testing.T) {
	limit := peer.Limits{All: 1, Share: 1}
	h := newHost(t, setup{limits: func(l *limits) { l.tcp.websockets = limit }})
	first := h.dial(t, "/jsonrpc")
	first.must("Plain.1.register", `{"event":"changed","id":"c"}`)
	if _, answer, err := h.tryDial(t, "/jsonrpc", nil); err == nil || answer.status != http.StatusServiceUnavailable {
		t.Errorf("beside a subscriber: %+v, %v", answer, err)
	}
	first.must("Plain.1.unregister", `{"event":"changed","id":"c"}`)
	first.send(call("Plain.1.wait", ""))
	<-h.plugins["Plain"].entered
	if _, answer, err := h.tryDial(t, "/jsonrpc", nil); err == nil || answer.status != http.StatusServiceUnavailable {
		t.Errorf("beside a call: %+v, %v", answer, err)
	}
	close(h.plugins["Plain"].release)
	first.receive()
	var second *client
	eventually(t, func() bool { // a moment after the answer the call has ended
		c, _, err := h.tryDial(t, "/jsonrpc", nil)
		second = c
		return err == nil
	})
	second.must("Plain.1.echo", "")
	first.end()
	h.waitForLog(t, "a new websocket needs its place")
}

// A call ends with the connection that asked for it, a notification does not.
func TestDisconnect(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc/Plain")
	plain := h.plugins["Plain"]
	c.send(call("wait", ""))
	<-plain.entered
	if err := c.ws.CloseNow(); err != nil {
		t.Fatal(err)
	}
	h.waitForSockets(t, 0)

	c = h.dial(t, "/jsonrpc/Plain")
	c.send(`{"method":"wait"}`)
	<-plain.entered
	if err := c.ws.CloseNow(); err != nil {
		t.Fatal(err)
	}
	if n := len(h.openSockets()); n != 1 {
		t.Errorf("%d sockets, want 1 that waits for the notification", n)
	}
	close(plain.release)
	h.waitForSockets(t, 0)
}

func TestCloseSaysFarewell(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc")
	ended := make(chan websocket.StatusCode)
	go func() { ended <- c.end() }()
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status := <-ended; status != websocket.StatusGoingAway {
		t.Errorf("closed with %v", status)
	}
}

func TestCloseCutsOffWhoDoesNotEnd(t *testing.T) {
	h := newHost(t, setup{})
	h.dial(t, "/jsonrpc") // never reads, so it never says farewell
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := h.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
	h.waitForSockets(t, 0)
}

// end reads until the connection is closed and returns why it was.
func (c *client) end() websocket.StatusCode {
	ctx, cancel := context.WithTimeout(c.tb.Context(), patience)
	defer cancel()
	for {
		if _, _, err := c.ws.Read(ctx); err != nil {
			return websocket.CloseStatus(err)
		}
	}
}

func (h *host) openSockets() []*socket {
	h.mu.Lock()
	defer h.mu.Unlock()
	var open []*socket
	for s := range h.sockets {
		open = append(open, s)
	}
	return open
}

func (h *host) onlySocket(t *testing.T) *socket {
	t.Helper()
	open := h.openSockets()
	if len(open) != 1 {
		t.Fatalf("%d sockets, want 1", len(open))
	}
	return open[0]
}

func (h *host) waitForSockets(t *testing.T, n int) {
	t.Helper()
	eventually(t, func() bool { return len(h.openSockets()) == n })
}

// eventually returns when what must become true is.
func eventually(t *testing.T, is func() bool) {
	t.Helper()
	tick, late := time.Tick(time.Millisecond), time.After(patience)
	for !is() {
		select {
		case <-tick:
		case <-late:
			t.Fatal("it did not happen")
		}
	}
}
