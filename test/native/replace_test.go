package native

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"dormouse/configs"
	"dormouse/hibernate/hibernatetest"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/supervisor"
)

// startingAt is the plugin Counter in a version that begins to count there.
func startingAt(start int) configs.Plugin {
	c := plugin("Counter", "counter", true)
	c.Configuration = map[string]any{"start": start}
	return c
}

// count calls Counter over the socket, and returns its value.
func (h *rig) count(method string) (int64, error) {
	answer, err := shellpb.NewDispatcherClient(h.client.Conn("Counter")).Invoke(h.limited(), &shellpb.InvokeRequest{Method: method})
	if err != nil {
		return 0, err
	}
	var got struct{ Value int64 }
	return got.Value, json.Unmarshal(answer.GetResult(), &got)
}

func (h *rig) expectCount(want int64) {
	h.t.Helper()
	if got, err := h.count("get"); got != want || err != nil {
		h.t.Errorf("it counts %d, %v; want %d", got, err, want)
	}
}

func (h *rig) shellOf(callsign string) *shell.Shell {
	h.t.Helper()
	sh, ok := h.host.Supervisor.Shell(callsign)
	if !ok {
		h.t.Fatalf("there is no %s", callsign)
	}
	return sh
}

// replace replaces Counter by the version that begins there.
func (h *rig) replace(start int) {
	h.t.Helper()
	if err := h.host.Supervisor.Replace(h.limited(), supervisor.FilesSource, startingAt(start), nil); err != nil {
		h.t.Fatal(err)
	}
}

// Clients that call all the time see no error, and values of no other plugin than the old one
// and then the new one, while a plugin is replaced; an instance that requires it stays active.
func TestReplaceUnderCalls(t *testing.T) {
	user := plugin("User", "counter", true)
	user.Requires = []string{"Counter"}
	h := startHost(t, user)
	h.replace(1000)
	var callers sync.WaitGroup
	var newest atomic.Int64
	done := make(chan struct{})
	for range 8 {
		callers.Go(func() {
			for {
				before := newest.Load()
				got, err := h.count("get")
				if err != nil || got < before || got%1000 != 0 {
					t.Errorf("it counts %d after %d, %v", got, before, err)
					return
				}
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	for version := 2; version <= 5; version++ {
		h.replace(1000 * version)
		newest.Store(int64(1000 * version))
	}
	close(done)
	callers.Wait()
	for _, transition := range h.shellOf("User").Status().History {
		if transition.From == shell.Activated && transition.To != shell.Activated {
			t.Errorf("what requires it was ended: %+v", transition)
		}
	}
}

// A hibernated plugin is woken to end, and the new one sleeps as it did.
func TestReplaceOfAHibernatedPlugin(t *testing.T) {
	h := startHost(t)
	hibernatetest.RequireEngine(t, engine)
	h.replace(7)
	if _, err := h.count("increment"); err != nil {
		t.Fatal(err)
	}
	h.must("Counter", sleep)
	before := h.shellOf("Counter").Status()

	h.replace(100)
	st := h.shellOf("Counter").Status()
	if st.State != shell.Hibernated || st.Sleep == nil || st.Sleep.Generation <= before.Sleep.Generation {
		t.Errorf("it is %s in %+v, was in %+v", st.State, st.Sleep, before.Sleep)
	}
	var states []string
	for _, transition := range st.History[len(before.History):] {
		states = append(states, string(transition.To))
	}
	want := strings.Fields("waking activated deactivation deactivated activation activation activated hibernating hibernated")
	if !slices.Equal(states, want) {
		t.Errorf("it went through %q, want %q", states, want)
	}
	h.must("Counter", activate)
	h.expectCount(100)
	h.must("Counter", shellpb.Operation_OPERATION_RESTART)
	h.expectCount(100)
}

// A version that does not start leaves the instance down, and the old one can be put back. A
// failure between starts the old one again.
func TestReplaceByABrokenVersion(t *testing.T) {
	h := startHost(t)
	s := h.host.Supervisor
	h.replace(7)
	errFull := errors.New("disk full")
	err := s.Replace(h.limited(), supervisor.FilesSource, startingAt(8), func(context.Context) error { return errFull })
	if !errors.Is(err, errFull) || !strings.Contains(err.Error(), "the plugin was started again as it was") {
		t.Errorf("got %v", err)
	}
	h.expectCount(7)

	broken := startingAt(9)
	broken.Executable = "/bin/false"
	if _, err := s.Probe(h.limited(), broken); !errors.Is(err, shell.ErrInstantiation) {
		t.Errorf("a probe of it: %v", err)
	}
	h.expectCount(7)
	if err := s.Replace(h.limited(), supervisor.FilesSource, broken, nil); !errors.Is(err, shell.ErrInstantiation) {
		t.Errorf("got %v", err)
	}
	if _, err := h.count("get"); err == nil || h.shellOf("Counter").State() != shell.Deactivated {
		t.Errorf("it is %s, and a call got %v", h.shellOf("Counter").State(), err)
	}
	h.replace(7)
	h.must("Counter", activate)
	h.expectCount(7)
	if about, err := s.Probe(h.limited(), startingAt(0)); err != nil || about.Class != "counter" {
		t.Errorf("a probe beside it: %+v, %v", about, err)
	}
	h.expectCount(7)
}
