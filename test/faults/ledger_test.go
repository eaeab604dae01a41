package faults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	"dormouse/plugins/client"
	"dormouse/test/streams"
)

// notes are some that follow each other, as the ledger has them.
type notes struct{ First, Last int }

// caller calls one thing after the other, and knows what was answered.
type caller struct {
	name     string
	call     func(ctx context.Context, n int) error
	answered []notes
	calls    int
	refused  int
}

// errDefinite is a refusal: the call was not carried out, and will not be.
var errDefinite = errors.New("refused")

// go on until ctx ends; what is under way then is waited for.
func (c *caller) run(ctx context.Context) error {
	for ; ctx.Err() == nil; c.calls++ {
		err := c.call(context.WithoutCancel(ctx), c.calls)
		k := len(c.answered) - 1
		switch {
		case errors.Is(err, errDefinite):
			c.refused++
		case err != nil:
			return fmt.Errorf("%s: call %d: %w", c.name, c.calls, err)
		case k >= 0 && c.answered[k].Last+1 == c.calls:
			c.answered[k].Last++
		default:
			c.answered = append(c.answered, notes{c.calls, c.calls})
		}
	}
	return nil
}

// cycles is how often the ledger sleeps while it is called.
func cycles(all, some int) int {
	if thorough {
		return all
	}
	return some
}

// readLedger reads what was carried out, once the plugin can be woken: a wake may fail for a
// cause that passes.
func (h *host) readLedger(into any) {
	h.t.Helper()
	until(h.t, "the ledger to be read", func() bool {
		err := h.ask("Ledger.notes", nil, into)
		if err != nil && !strings.Contains(err.Error(), `"code":46`) {
			h.t.Fatal(err)
		}
		return err == nil
	})
}

// Every call to a plugin that sleeps and wakes all the time is carried out once and
// answered once, or is refused and not carried out; each caller's in their order.
func TestLedger(t *testing.T) {
	runBeside(t)
	needCRIU(t)
	s := newSite(t, "", plugin("Ledger", programs+"/ledger", `on-call = "wake"`))
	h := s.start("")
	h.ready()
	native, err := client.New(filepath.Join(s.root, "run", "communicator"))
	must(t, err)
	defer native.Close()
	var callers []*caller
	for i := range 3 {
		callers = append(callers, h.overHTTP(i), h.overWebsocket(i), overGRPC(native, i))
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var all sync.WaitGroup
	for _, c := range callers {
		all.Go(func() {
			if err := c.run(ctx); err != nil {
				t.Errorf("%v; the host's log ends with:\n%s", err, tail(h.log.String()))
				cancel()
			}
		})
	}
	slept := 0
	for range cycles(500, 60) {
		if ctx.Err() != nil {
			break
		}
		h.readLedger(nil) // it may be what wakes it
		h.hibernate("Ledger")
		slept++
	}
	cancel()
	all.Wait()
	var carriedOut map[string][]notes
	h.readLedger(&carriedOut)
	calls, refused := 0, 0
	for _, c := range callers {
		calls, refused = calls+c.calls, refused+c.refused
		if diff := cmp.Diff(c.answered, carriedOut[c.name]); diff != "" {
			t.Errorf("%s was answered, and the ledger has:\n%s", c.name, diff)
		}
		if len(c.answered) == 0 {
			t.Errorf("%s never had an answer", c.name)
		}
	}
	t.Logf("%d calls in %d cycles, %d of them refused", calls, slept, refused)
	s.inspect()
	h.end()
	s.inspect()
}

// tail is the end of a log.
func tail(log string) string {
	lines := strings.Split(log, "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}

// note is what callers over JSON-RPC send and get back.
type note struct {
	Caller string `json:"caller"`
	N      int    `json:"n"`
}

func (h *host) overHTTP(i int) *caller {
	c := &caller{name: fmt.Sprintf("http%d", i)}
	c.call = func(_ context.Context, n int) error {
		var got note
		err := h.ask("Ledger.note", note{c.name, n}, &got)
		if errors.Is(err, errRefused) {
			return fmt.Errorf("%w: %w", errDefinite, err)
		}
		return c.own(err, got, n)
	}
	return c
}

func (h *host) overWebsocket(i int) *caller {
	h.t.Helper()
	ws, _, err := websocket.Dial(h.t.Context(), "ws"+strings.TrimPrefix(h.url(), "http"), nil) //nolint:bodyclose // it has none, see Dial
	must(h.t, err)
	h.t.Cleanup(func() { _ = ws.CloseNow() })
	c := &caller{name: fmt.Sprintf("ws%d", i)}
	c.call = func(ctx context.Context, n int) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		err := wsjson.Write(ctx, ws, map[string]any{"jsonrpc": "2.0", "id": n, "method": "Ledger.note", "params": note{c.name, n}})
		var answer struct {
			ID     *int
			Result note
			Error  json.RawMessage
		}
		if err == nil {
			err = wsjson.Read(ctx, ws, &answer)
		}
		switch {
		case err != nil:
			return err
		case answer.ID == nil || *answer.ID != n:
			return fmt.Errorf("got the answer to another call: %+v", answer)
		case answer.Error != nil:
			return fmt.Errorf("%w: %s", errDefinite, answer.Error)
		}
		return c.own(nil, answer.Result, n)
	}
	return c
}

func overGRPC(native *client.Client, i int) *caller {
	c := &caller{name: fmt.Sprintf("grpc%d", i)}
	service := streams.NewStreamsClient(native.Conn("Ledger"))
	c.call = func(ctx context.Context, n int) error {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		got, err := service.Echo(ctx, &streams.Text{Text: fmt.Sprint(c.name, " ", n)})
		if code := grpcstatus.Code(err); code == codes.FailedPrecondition || code == codes.Unavailable {
			return fmt.Errorf("%w: %w", errDefinite, err)
		}
		var answer note
		if err == nil {
			_, err = fmt.Sscan(got.GetText(), &answer.Caller, &answer.N)
		}
		return c.own(err, answer, n)
	}
	return c
}

// own makes sure that the answer is that to the call.
func (c *caller) own(err error, got note, n int) error {
	if err == nil && got != (note{c.name, n}) {
		return fmt.Errorf("got another's answer: %+v", got)
	}
	return err
}
