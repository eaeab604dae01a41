package native

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/hibernate/hibernatetest"
	"dormouse/plugins/client"
	"dormouse/plugins/sdk"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/test/streams"
)

// descriptors is how many this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(open)
}

// steady fails the test when descriptors or goroutines stay more than they were.
func (h *rig) steady(fds, goroutines int) {
	h.t.Helper()
	h.eventually(fmt.Sprintf("no more than %d descriptors and %d goroutines are left", fds, goroutines), func() bool {
		return descriptors(h.t) <= fds && runtime.NumGoroutine() <= goroutines
	})
}

// A thousand clients come, call, watch and go.
func TestManyClients(t *testing.T) {
	h := startHost(t)
	h.call("keep") // the one connection to the plugin and of it are there
	h.call("release")
	fds, goroutines := descriptors(t), runtime.NumGoroutine()
	come := func() error {
		c, err := client.New(h.socket())
		if err != nil {
			return err
		}
		defer c.Close()
		w, err := c.Shell("Streams").Watch(h.limited(), &shellpb.WatchRequest{})
		if err == nil {
			_, err = w.Recv()
		}
		if err == nil {
			_, err = streams.NewStreamsClient(c.Conn("Streams")).Echo(h.limited(), &streams.Text{Text: "hello"})
		}
		return err
	}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			for range 100 {
				if err := come(); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	h.steady(fds, goroutines)
	if held := h.host.Communicator.Proxies(); len(held) != 0 {
		t.Errorf("still held: %v", held)
	}
}

// Calls of every kind go on while the plugin sleeps and wakes, is killed and
// ended; each gets its own answer or is refused, and none hangs.
func TestStorm(t *testing.T) {
	h := startHost(t)
	hibernatetest.RequireEngine(t, engine)
	h.must("Streams", sleep, activate)
	fds, goroutines := descriptors(t), runtime.NumGoroutine()
	ctx, cancel := context.WithCancel(h.limited())
	defer cancel()
	c := streams.NewStreamsClient(h.client.Conn("Streams"))
	big := strings.Repeat("x", 1<<20)
	kinds := map[string]func(context.Context, string) error{
		"unary": func(ctx context.Context, text string) error {
			got, err := c.Echo(ctx, &streams.Text{Text: text + big})
			if err == nil && got.GetText() != text+big {
				err = errors.New("another's answer")
			}
			return err
		},
		"chat": func(ctx context.Context, text string) error {
			s, err := c.Chat(ctx)
			for range 3 {
				if err == nil {
					err = s.Send(&streams.Text{Text: text})
				}
				if err == nil || errors.Is(err, io.EOF) {
					var got *streams.Text
					if got, err = s.Recv(); err == nil && got.GetText() != text {
						err = errors.New("another's answer")
					}
				}
			}
			return err
		},
		"split": func(ctx context.Context, text string) error {
			s, err := c.Split(ctx, &streams.Text{Text: text})
			var all strings.Builder
			for err == nil {
				var got *streams.Text
				if got, err = s.Recv(); err == nil {
					all.WriteString(got.GetText())
				}
			}
			if errors.Is(err, io.EOF) {
				if err = nil; all.String() != text {
					err = errors.New("another's answer")
				}
			}
			return err
		},
	}
	var all sync.WaitGroup
	var mu sync.Mutex
	outcomes := make(map[codes.Code]int)
	for kind, call := range kinds {
		for caller := range 3 {
			all.Go(func() {
				for n := 0; ctx.Err() == nil; n++ {
					limited, done := context.WithTimeout(ctx, time.Minute)
					err := call(limited, fmt.Sprintf("%s %d %d", kind, caller, n))
					done()
					if ctx.Err() != nil {
						return
					}
					code := status.Code(err)
					mu.Lock()
					outcomes[code]++
					mu.Unlock()
					switch code {
					case codes.OK, codes.FailedPrecondition, codes.Unavailable:
					case codes.Unknown:
						if shellpb.ErrorDetailOf(err).GetCode() != sdk.RPCCallFailed {
							t.Errorf("%s: %v", kind, err)
						}
					default:
						t.Errorf("%s: %v", kind, err)
					}
				}
			})
		}
	}
	for range 10 {
		h.must("Streams", sleep, activate, shellpb.Operation_OPERATION_DEACTIVATE, activate)
		h.crash()
		h.must("Streams", activate)
	}
	cancel()
	all.Wait()
	if outcomes[codes.OK] == 0 || outcomes[codes.FailedPrecondition]+outcomes[codes.Unavailable] == 0 {
		t.Errorf("the calls came to %v", outcomes)
	}
	h.steady(fds, goroutines)
}

// Calls that may wake the plugin are all answered, however often it is put to
// sleep.
func TestStormWakes(t *testing.T) {
	h := startHost(t)
	hibernatetest.RequireEngine(t, engine)
	h.must("Other", activate)
	ctx, cancel := context.WithCancel(h.limited())
	defer cancel()
	c := streams.NewStreamsClient(h.client.Conn("Other"))
	var all sync.WaitGroup
	for caller := range 6 {
		all.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				text := fmt.Sprintf("%d %d", caller, n)
				got, err := c.Echo(ctx, &streams.Text{Text: text})
				if ctx.Err() == nil && (err != nil || got.GetText() != text) {
					t.Errorf("asked %q, got %q, %v", text, got.GetText(), err)
				}
			}
		})
	}
	for range 10 {
		h.must("Other", sleep)
	}
	cancel()
	all.Wait()
}

// crash kills the plugin and waits until the host has noticed.
func (h *rig) crash() {
	h.t.Helper()
	sh, _ := h.host.Supervisor.Shell("Streams")
	pid := sh.Status().Figures.PID
	if pid == 0 { // which would kill the test itself
		h.t.Fatal("there is no process to kill")
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		h.t.Fatal(err)
	}
	h.eventually("the host notices", func() bool { return sh.State() == shell.Deactivated })
}

// A hundred sleeps with the host socket in use leave nothing behind.
func TestManySleeps(t *testing.T) {
	h := startHost(t)
	hibernatetest.RequireEngine(t, engine)
	cycle := func() {
		t.Helper()
		h.must("Streams", sleep, activate)
		if got := h.call("keep"); got != "true" {
			t.Fatalf("got %s", got)
		}
		h.call("release")
	}
	cycle()
	fds, goroutines := descriptors(t), runtime.NumGoroutine()
	for range 100 {
		cycle()
	}
	h.steady(fds, goroutines)
}
