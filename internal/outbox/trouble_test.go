package outbox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"dormouse/internal/outbox/targets"
	"dormouse/internal/store"
)

// netRig is an outbox on the network of this machine.
type netRig struct {
	*Outbox
	t     *testing.T
	store *store.Store
}

// onLoopback runs an outbox whose deliveries may go to 127.0.0.1, and what else o allows.
func onLoopback(t *testing.T, o targets.Options) *netRig {
	t.Helper()
	s, err := store.Open(filepath.Join(t.TempDir(), "store.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	rule, err := targets.ParseRule("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	o.Allow = append(o.Allow, rule)
	box, err := Open(s, Options{Targets: targets.New(o)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		box.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
		_ = s.Close()
	})
	return &netRig{box, t, s}
}

// put puts a delivery in.
func (r *netRig) put(d Delivery) {
	r.t.Helper()
	if err := r.store.Update(r.t.Context(), func(tx *store.Tx) error { return r.PutIn(tx, d) }); err != nil {
		r.t.Fatal(err)
	}
	r.Wake()
}

// until returns the figures once they are as ok says.
func (r *netRig) untilStats(ok func(Stats) bool) Stats {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	for {
		s, err := r.Stats(ctx)
		if err != nil {
			r.t.Fatalf("%+v, %v", s, err)
		}
		if ok(s) {
			return s
		}
	}
}

// isEmpty reports whether nothing waits.
func isEmpty(s Stats) bool { return s.Waiting == 0 }

// serve returns the URL of a server.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// A redirect is not followed, and is for the operator to see.
func TestRedirectIsNotFollowed(t *testing.T) {
	r := onLoopback(t, targets.Options{})
	var followed atomic.Int64
	other := serve(t, func(http.ResponseWriter, *http.Request) { followed.Add(1) })
	url := serve(t, func(w http.ResponseWriter, q *http.Request) { http.Redirect(w, q, other, http.StatusTemporaryRedirect) })
	r.put(Delivery{Line: "a", URL: url})
	if s := r.untilStats(isEmpty); s.GivenUp != 1 || followed.Load() != 0 {
		t.Errorf("got %+v, followed %d times", s, followed.Load())
	}
}

// Gigabytes of an answer are not read, neither of its body nor of its header, and an answer that
// does not end counts by its status.
func TestEndlessAnswers(t *testing.T) {
	r := onLoopback(t, targets.Options{})
	var written atomic.Int64
	body := serve(t, func(w http.ResponseWriter, q *http.Request) {
		for chunk := make([]byte, 64<<10); q.Context().Err() == nil; {
			n, err := w.Write(chunk)
			written.Add(int64(n))
			if err != nil {
				return
			}
		}
	})
	trickling := serve(t, func(w http.ResponseWriter, q *http.Request) {
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-q.Context().Done()
	})
	r.put(Delivery{Line: "a", URL: body})
	r.put(Delivery{Line: "b", URL: trickling})
	if s := r.untilStats(isEmpty); s.GivenUp != 0 || len(s.Failures) != 0 {
		t.Errorf("got %+v", s)
	}
	if n := written.Load(); n > 32<<20 {
		t.Errorf("the target has written %d bytes", n)
	}

	header := serveRaw(t, func(c net.Conn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
		for err := error(nil); err == nil; {
			_, err = fmt.Fprintf(c, "X-More: %s\r\n", strings.Repeat("x", 1000))
		}
	})
	r.put(Delivery{Line: "c", URL: header})
	r.untilStats(func(s Stats) bool { return len(s.Failures) == 1 })
}

// serveRaw returns the URL of a server that reads a part of each request and then does as answer
// says.
func serveRaw(t *testing.T, answer func(net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			answer(c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-ended
	})
	return "http://" + listener.Addr().String()
}

// What is no answer is a failure, whose reason an operator sees.
func TestNoAnswer(t *testing.T) {
	r := onLoopback(t, targets.Options{})
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = closed.Close()
	for i, test := range []struct{ url, want string }{
		{"http://" + closed.Addr().String(), "connection refused"},
		{serveRaw(t, func(net.Conn) {}), "EOF"},
		{serveRaw(t, func(c net.Conn) { _, _ = io.WriteString(c, "no HTTP\r\n\r\n") }), "malformed HTTP"},
		{serveRaw(t, func(c net.Conn) { _, _ = io.WriteString(c, "no"+strings.Repeat("é", 500)+"\r\n\r\n") }), "malformed HTTP"},
		{serveRaw(t, func(c net.Conn) { _, _ = io.WriteString(c, "non"+strings.Repeat("é", 500)+"\r\n\r\n") }), "malformed HTTP"},
		{"http://127.0.0.2:80", "webhooks may not go there: 127.0.0.2 is an address of this machine"},
		{"http://name.invalid", "name.invalid"},
	} {
		r.put(Delivery{Line: fmt.Sprint(i), Event: "status", URL: test.url})
		r.untilStats(func(s Stats) bool { return len(s.Failures) == i+1 })
		reason := ""
		for r.t.Context().Err() == nil && reason == "" {
			all, err := r.Troubled(t.Context(), 0, 100)
			if err != nil {
				t.Fatal(err)
			}
			for _, one := range all {
				if one.URL == test.url {
					reason = one.Reason
				}
			}
		}
		if !strings.Contains(reason, test.want) || strings.Contains(reason, "Post ") || !utf8.ValidString(reason) {
			t.Errorf("%s: the reason is %q", test.url, reason)
		}
	}
}

// A connection that its target closes between two deliveries costs no failure.
func TestClosedConnection(t *testing.T) {
	r := onLoopback(t, targets.Options{})
	var taken atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { taken.Add(1) }))
	server.Config.IdleTimeout = time.Millisecond
	server.Start()
	defer server.Close()
	for i := range 50 {
		r.put(Delivery{Line: fmt.Sprint(i % 3), URL: server.URL})
		r.untilStats(isEmpty)
	}
	if s := r.untilStats(isEmpty); len(s.Failures) != 0 || taken.Load() != 50 {
		t.Errorf("got %+v, taken %d", s, taken.Load())
	}
}

// The host's own door is never reached, whatever is allowed and however the URL is spelled: so no
// webhook goes round in a loop.
func TestOwnDoor(t *testing.T) {
	var reached atomic.Int64
	var box *netRig
	url := serve(t, func(http.ResponseWriter, *http.Request) {
		reached.Add(1)
		box.put(Delivery{Line: "loop", URL: box.t.Name()})
	})
	own := netip.MustParseAddrPort(strings.TrimPrefix(url, "http://"))
	box = onLoopback(t, targets.Options{OwnPorts: func() []netip.AddrPort { return []netip.AddrPort{own} }})
	for i, host := range []string{"127.0.0.1", "localhost", "127.1", "[::ffff:127.0.0.1]"} {
		if err := box.CheckTarget(fmt.Sprintf("http://%s:%d/", host, own.Port())); !errors.Is(err, targets.ErrRefused) {
			t.Errorf("%s: got %v", host, err)
		}
		box.put(Delivery{Line: fmt.Sprint(i), URL: fmt.Sprintf("http://%s:%d/", host, own.Port())})
	}
	box.untilStats(func(s Stats) bool { return len(s.Failures) == 2 && s.Failures[own.String()] >= 3 })
	if n := reached.Load(); n != 0 {
		t.Errorf("the host was reached %d times", n)
	}
}

// A name that leads elsewhere each time it is asked for leads nowhere that is not allowed.
func TestNameThatResolvesAnew(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := listener.Addr().(*net.TCPAddr).Port //nolint:errcheck // it is TCP
	var forbidden, allowed atomic.Int64
	server := &http.Server{Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { allowed.Add(1) })}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	trap, err := net.Listen("tcp", fmt.Sprintf("127.0.0.2:%d", port))
	if err != nil {
		t.Fatal(err)
	}
	defer trap.Close()
	go func() {
		for {
			c, err := trap.Accept()
			if err != nil {
				return
			}
			forbidden.Add(1)
			_ = c.Close()
		}
	}()
	names := startNames(t, netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2"))
	r := onLoopback(t, targets.Options{Resolver: names.resolver()})
	for i := range 6 {
		r.put(Delivery{Line: fmt.Sprint(i), URL: fmt.Sprintf("http://rebinding.example:%d/", port)})
		r.untilStats(func(s Stats) bool {
			failed := int64(0)
			for _, n := range s.Failures {
				failed += n
			}
			return allowed.Load()+failed > int64(i)
		})
	}
	if forbidden.Load() != 0 || allowed.Load() == 0 || names.asked.Load() < 2 {
		t.Errorf("the forbidden address was reached %d times, the other %d, the name was asked for %d times", forbidden.Load(), allowed.Load(), names.asked.Load())
	}
}

// names is a server of names with one name for all, whose address is another each time.
type names struct {
	conn      net.PacketConn
	addresses []netip.Addr
	asked     atomic.Int64
}

func startNames(t *testing.T, addresses ...netip.Addr) *names {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &names{conn: conn, addresses: addresses}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		n.serve()
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-ended
	})
	return n
}

// resolver returns a resolver that asks the server.
func (n *names) resolver() *net.Resolver {
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp", n.conn.LocalAddr().String())
	}}
}

// serve answers questions for an IPv4 address with the next one, and others with nothing.
func (n *names) serve() {
	const header, typeA = 12, 1
	buffer := make([]byte, 512)
	for {
		size, from, err := n.conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		question := buffer[header:size]
		end := strings.IndexByte(string(question), 0) + 5 // the name, type and class
		kind := binary.BigEndian.Uint16(question[end-4:])
		answer := append([]byte{buffer[0], buffer[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, question[:end]...)
		if kind == typeA {
			answer[7] = 1
			address := n.addresses[int(n.asked.Add(1))%len(n.addresses)].As4()
			answer = append(answer, 0xc0, header, 0, typeA, 0, 1, 0, 0, 0, 0, 0, 4)
			answer = append(answer, address[:]...)
		}
		_, _ = n.conn.WriteTo(answer, from)
	}
}

// A kind that is exempt goes where it is configured to go; its URL is found at each try.
func TestFindAndExempt(t *testing.T) {
	r := onLoopback(t, targets.Options{})
	got := make(chan string, 10)
	listener, err := net.Listen("tcp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		got <- q.Method + " " + q.URL.String()
		if q.Method == http.MethodGet {
			_, _ = io.WriteString(w, "/found")
		}
	})}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	root := "http://" + listener.Addr().String()
	r.Handle("registry", Kind{Exempt: true, Find: func(ctx context.Context, client *http.Client, d Delivery) (string, error) {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, d.URL, http.NoBody)
		if err != nil {
			return "", err
		}
		response, err := client.Do(request)
		if err != nil {
			return "", err
		}
		defer response.Body.Close()
		path, err := io.ReadAll(response.Body)
		return root + string(path) + "?url=x", err
	}})
	r.put(Delivery{Line: "r", Kind: "registry", URL: root + "/api"})
	if first, second := <-got, <-got; first != "GET /api" || second != "POST /found?url=x" {
		t.Errorf("got %s, %s", first, second)
	}
	r.put(Delivery{Line: "t", URL: root + "/api"})
	r.untilStats(func(s Stats) bool { return len(s.Failures) == 1 })
	select {
	case one := <-got:
		t.Errorf("a kind that is not exempt got to %s", one)
	default:
	}
}
