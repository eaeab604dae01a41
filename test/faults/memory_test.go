package faults

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"dormouse/shell/shellpb"
	"dormouse/test/streams"
)

const mib = 1 << 20

// What the host may take: [host] memory, and what Go keeps beside what it counts.
const (
	memoryOfHost = 256 * mib
	beside       = 32 * mib
)

// How much of an attack's memory may be left so long after it.
const (
	leftOver  = 16 * mib
	forgetful = 60 * time.Second
)

// notStarved is how long a client beside the attack may wait for one answer, on a busy machine.
const notStarved = 15 * time.Second

// attack is what hostile clients do at the same time. It returns when they have all begun; end
// ends them.
type attack struct {
	name  string
	begin func(t *testing.T, s *site, h *host) (end func())
}

// Whatever clients do within their limits, the host stays within its memory, a client beside
// them does not notice, and a minute later the memory is free again.
func TestMemoryIsBounded(t *testing.T) {
	for _, a := range []attack{
		{"websockets that do not read their answers", func(t *testing.T, _ *site, h *host) func() {
			t.Helper()
			return h.websockets(t, 4, func(ws *websocket.Conn) {
				for range 64 {
					h.sendTo(ws, "Bulk.answer", strconv.Itoa(7<<10))
				}
			})
		}},
		{"long calls that hang", func(t *testing.T, _ *site, h *host) func() {
			t.Helper()
			params := `"` + strings.Repeat("x", 900<<10) + `"`
			return h.websockets(t, 20, func(ws *websocket.Conn) {
				go func() { // the host may not read all
					for range 64 {
						h.sendTo(ws, "Bulk.hang", params)
					}
				}()
			})
		}},
		{"batches of long answers", func(t *testing.T, _ *site, h *host) func() {
			t.Helper()
			one := `{"jsonrpc":"2.0","id":1,"method":"Bulk.answer","params":7168}`
			return h.websockets(t, 4, func(ws *websocket.Conn) {
				for range 8 {
					_ = ws.Write(t.Context(), websocket.MessageText, []byte("["+strings.Repeat(one+",", 98)+one+"]"))
				}
			})
		}},
		{"messages that do not end", func(t *testing.T, _ *site, h *host) func() {
			t.Helper()
			return h.websockets(t, 200, func(ws *websocket.Conn) {
				w, err := ws.Writer(t.Context(), websocket.MessageText)
				if err == nil {
					_, _ = w.Write([]byte(`{"jsonrpc":"2.0","id":1,"method":"Bulk.hang","params":"` + strings.Repeat("x", 900<<10)))
				}
			})
		}},
		{"events that are not read", func(t *testing.T, _ *site, h *host) func() {
			t.Helper()
			end := h.websockets(t, 16, func(ws *websocket.Conn) {
				h.sendTo(ws, "Bulk.register", `{"event":"bulk","id":"x"}`)
			})
			for range 10 {
				h.must("Bulk.emit", 40, nil)
			}
			return end
		}},
		{"subscriptions with long names", func(t *testing.T, _ *site, h *host) func() {
			t.Helper()
			return h.websockets(t, 100, func(ws *websocket.Conn) {
				for i := range 1024 {
					h.sendTo(ws, "Bulk.register", fmt.Sprintf(`{"event":"%0250d","id":"%0250d"}`, i, i))
				}
			})
		}},
		{"notifications whose sender hangs up", func(t *testing.T, _ *site, h *host) func() {
			t.Helper()
			body := `{"jsonrpc":"2.0","method":"Bulk.hang","params":"` + strings.Repeat("x", 500<<10) + `"}`
			for range 300 {
				conn, err := net.Dial("tcp", h.address)
				must(t, err)
				_, _ = fmt.Fprintf(conn, "POST /jsonrpc HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
				_ = conn.Close()
			}
			return func() {}
		}},
		{"native answers that are not read", func(t *testing.T, s *site, h *host) func() {
			t.Helper()
			return h.natives(t, s.socket(), 4, 64, func(ctx context.Context, c *grpc.ClientConn) {
				_, _ = shellpb.NewDispatcherClient(c).Invoke(ctx, &shellpb.InvokeRequest{Method: "answer", Params: strconv.AppendInt(nil, 7<<10, 10)})
			})
		}},
		{"native calls that hang", func(t *testing.T, s *site, h *host) func() {
			t.Helper()
			long := strings.Repeat("x", 7*mib)
			return h.natives(t, s.socket(), 8, 16, func(ctx context.Context, c *grpc.ClientConn) {
				if stream, err := streams.NewStreamsClient(c).Hang(ctx, &streams.Text{Text: long}); err == nil {
					_, _ = stream.Recv()
				}
			})
		}},
	} {
		t.Run(a.name, func(t *testing.T) {
			runBeside(t)
			s := newSite(t, "", plugin("Bulk", programs+"/bulk", `call-timeout = "20s"`), plugin("Other", programs+"/bulk"))
			h := s.start("")
			h.ready()
			h.must("Other.echo", 1, nil)
			before := h.rss("VmRSS")
			good := h.keepCalling("Other.echo")
			end := a.begin(t, s, h)
			<-time.After(3 * time.Second) // the attack goes on for as long
			if worst := good(); worst > notStarved {
				t.Errorf("a client beside it waited for %s", worst)
			}
			peak := h.rss("VmHWM")
			end()
			if most := int64(memoryOfHost + beside); peak > most {
				t.Errorf("the host took %d MiB of %d", peak/mib, most/mib)
			}
			after := h.rss("VmRSS")
			for late := time.Now().Add(forgetful); after > before+leftOver && time.Now().Before(late); after = h.rss("VmRSS") {
				<-time.After(100 * time.Millisecond)
			}
			if after > before+leftOver {
				t.Errorf("the host has %d MiB, %d before", after/mib, before/mib)
			}
			t.Logf("%d MiB before, %d at most, %d after", before/mib, peak/mib, after/mib)
			h.end()
		})
	}
}

// rss returns a figure of the host's memory in bytes: VmRSS, or VmHWM for the most so far.
func (h *host) rss(key string) int64 {
	h.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", h.cmd.Process.Pid))
	must(h.t, err)
	for line := range strings.Lines(string(text)) {
		if rest, found := strings.CutPrefix(line, key+":"); found {
			kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			must(h.t, err)
			return kib << 10
		}
	}
	h.t.Fatalf("/proc says nothing of %s", key)
	return 0
}

// keepCalling calls a method all the time, each call on a connection of its own, until stop,
// which returns how long the slowest took. No call may fail.
func (h *host) keepCalling(method string) (stop func() (worst time.Duration)) {
	ctx, cancel := context.WithCancel(h.t.Context())
	var all sync.WaitGroup
	var worst atomic.Int64
	all.Go(func() {
		for ctx.Err() == nil {
			begun := time.Now()
			if err := h.ask(method, 1, nil); err != nil {
				h.t.Errorf("a client beside it: %v", err)
				return
			}
			worst.Store(max(worst.Load(), int64(time.Since(begun))))
		}
	})
	return func() time.Duration { cancel(); all.Wait(); return time.Duration(worst.Load()) }
}

// socket returns the path of the site's communicator.
func (s *site) socket() string { return filepath.Join(s.root, "run", "communicator") }

// websockets opens so many and has each do what hostile clients do. It reads from none.
func (h *host) websockets(t *testing.T, n int, do func(*websocket.Conn)) (end func()) {
	t.Helper()
	var all []*websocket.Conn
	for range n {
		ws, _, err := websocket.Dial(t.Context(), "ws"+strings.TrimPrefix(h.url(), "http"), &websocket.DialOptions{HTTPClient: &http.Client{}}) //nolint:bodyclose // it has none, see Dial
		must(t, err)
		all = append(all, ws)
		do(ws)
	}
	return func() {
		for _, ws := range all {
			_ = ws.CloseNow()
		}
	}
}

// sendTo sends a call, if the host takes it.
func (h *host) sendTo(ws *websocket.Conn, method, params string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = ws.Write(ctx, websocket.MessageText, []byte(`{"jsonrpc":"2.0","id":1,"method":"`+method+`","params":`+params+`}`))
}

// natives opens so many connections to the communicator, and makes so many calls on each. Once
// these have begun, nothing is read from the connections.
func (h *host) natives(t *testing.T, socket string, connections, calls int, call func(context.Context, *grpc.ClientConn)) (end func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(t.Context(), shellpb.CallsignKey, "Bulk"))
	var all sync.WaitGroup
	var open []*grpc.ClientConn
	for range connections {
		conn, err := grpc.NewClient("passthrough:x", grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(16*mib), grpc.MaxCallSendMsgSize(16*mib)),
			grpc.WithInitialWindowSize(16*mib), grpc.WithInitialConnWindowSize(1<<30),
			grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) {
				conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
				return &deafConn{Conn: conn, deaf: time.Now().Add(500 * time.Millisecond)}, err
			}))
		must(t, err)
		open = append(open, conn)
		for range calls {
			all.Go(func() { call(ctx, conn) })
		}
	}
	return func() {
		cancel()
		for _, conn := range open {
			_ = conn.Close()
		}
		all.Wait()
	}
}

// deafConn is a connection from which little is read after a time.
type deafConn struct {
	net.Conn
	deaf time.Time
}

// Read reads from the connection, later only a little each second.
func (c *deafConn) Read(p []byte) (int, error) {
	if time.Now().After(c.deaf) {
		<-time.After(100 * time.Millisecond)
		p = p[:min(len(p), 1024)]
	}
	return c.Conn.Read(p)
}
