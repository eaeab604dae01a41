package controller

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"dormouse/shell"
)

// Clients that do everything wrong at once must not disturb one that does
// nothing wrong, nor leave anything behind.
func TestStorm(t *testing.T) {
	const (
		each   = 6               // clients of each kind
		rounds = 2               // of each client
		growth = 32 << 20        // of the heap, when all is over
		quick  = 2 * time.Second // for each answer to the good client
		most   = 192 << 20       // of the heap, meanwhile
	)
	h := newHost(t, setup{limits: func(l *limits) {
		l.headerTime, l.bodyTime, l.idleTime = 200*time.Millisecond, 200*time.Millisecond, 200*time.Millisecond
		// A good client that is quick enough is quick enough for these too.
		l.writeTime, l.pingEvery, l.pongTime = quick, 100*time.Millisecond, quick+time.Second
		l.queueLength = 32
	}})
	good := h.dial(t, "/jsonrpc")
	good.must("Plain.1.echo", "1")
	goroutines, heap := runtime.NumGoroutine(), heapInUse()

	ctx, end := context.WithCancel(t.Context())
	var others sync.WaitGroup
	others.Go(func() { // something to tell those who don't listen
		big := shell.Notification{Event: "changed", Params: json.RawMessage(`"` + strings.Repeat("x", 64<<10) + `"`)}
		for tick := time.Tick(time.Millisecond); ctx.Err() == nil; <-tick {
			h.Notification("Auto", big)
		}
	})
	var bad sync.WaitGroup
	for _, misbehave := range misbehaviours() {
		for range each {
			bad.Go(func() {
				for range rounds {
					misbehave(h)
				}
			})
		}
	}
	t.Cleanup(func() { // also when the good client had to give up
		end()
		others.Wait()
		bad.Wait()
	})
	over := make(chan struct{})
	go func() {
		defer close(over)
		bad.Wait()
	}()

	var peak uint64
	var slowest time.Duration
	for running := true; running; {
		select {
		case <-over:
			running = false
		default:
		}
		began := time.Now()
		good.must("Plain.1.echo", "1")
		slowest = max(slowest, time.Since(began))
		peak = max(peak, heapInUse())
	}
	end()
	others.Wait()
	if slowest > quick {
		t.Errorf("the good client waited %v", slowest)
	}
	if peak > heap+most {
		t.Errorf("the heap grew from %d to %d KiB", heap>>10, peak>>10)
	}
	eventually(t, func() bool { return len(h.openSockets()) <= 1 })
	eventually(t, func() bool { return runtime.NumGoroutine() <= goroutines+2 })
	runtime.GC()
	if left := heapInUse(); left > heap+growth {
		t.Errorf("the heap was %d KiB and is %d KiB", heap>>10, left>>10)
	}
	t.Logf("slowest answer %v, heap %d, at most %d KiB", slowest, heap>>10, peak>>10)
}

func heapInUse() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// misbehaviours are clients that return once the host is rid of them.
func misbehaviours() []func(*host) {
	sends := func(text string) func(*host) {
		message := []byte(text) // once, or the heap would be the clients'
		return func(h *host) {
			conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
			if err != nil {
				return
			}
			defer func() { _ = conn.Close() }()
			_ = conn.SetDeadline(time.Now().Add(patience))
			_, _ = conn.Write(message)
			_, _ = io.Copy(io.Discard, conn)
		}
	}
	large := strings.Repeat("[", 4<<20) + strings.Repeat("]", 4<<20)
	return []func(*host){
		sends(""),
		sends("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
		sends("POST /jsonrpc HTTP/1.1\r\nHost: localhost\r\n"),
		sends("POST /jsonrpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"),
		sends("PUT /Service/Controller/Persist HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"),
		sends("GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"),
		sends("POST /jsonrpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 8388608\r\n\r\n" + large),
		sends("GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 1<<20)),
		speaks(websocket.MessageText, large),
		speaks(websocket.MessageBinary, "{}"),
		speaks(websocket.MessageText, `{"method":"Auto.1.register","id":1,"params":{"event":"changed","id":"deaf"}}`),
		speaks(websocket.MessageText, "["+strings.Repeat("0,", 1<<19-2)+"0]"),
	}
}

// speaks is a websocket that sends one message and then never reads.
func speaks(kind websocket.MessageType, text string) func(*host) {
	message := []byte(text)
	return func(h *host) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		var own net.Addr
		dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
			conn, err := new(net.Dialer).DialContext(ctx, network, h.server.Listener.Addr().String())
			if err == nil {
				own = conn.LocalAddr()
			}
			return conn, err
		}
		ws, _, err := websocket.Dial(ctx, "ws://localhost/jsonrpc", &websocket.DialOptions{ //nolint:bodyclose // Dial says that it must not be
			HTTPClient: &http.Client{Transport: &http.Transport{DialContext: dial}},
		})
		if err != nil {
			return
		}
		defer func() { _ = ws.CloseNow() }()
		_ = ws.Write(ctx, kind, message)
		for tick := time.Tick(time.Millisecond); h.holds(own) && ctx.Err() == nil; {
			<-tick
		}
	}
}

// holds reports whether the websocket from that address is still open.
func (h *host) holds(client net.Addr) bool {
	return slices.ContainsFunc(h.openSockets(), func(s *socket) bool {
		return s.conn.RemoteAddr().String() == client.String()
	})
}
