package sdktest_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"dormouse/plugins/sdk"
	"dormouse/plugins/sdk/sdktest"
	"dormouse/shell"
)

// hostMethods let a test see the host through the parrot's eyes.
func (p *parrot) hostMethods() sdk.Methods {
	return sdk.Methods{
		"status": sdk.Method(func(ctx context.Context, callsign string) (sdk.Status, error) {
			return p.in.Host.Status(ctx, callsign)
		}),
		"ask": sdk.Method(func(ctx context.Context, callsign string) (word string, err error) {
			err = p.in.Host.Invoke(ctx, callsign, "word", nil, &word)
			return word, err
		}),
		// relay has the other ask this one, which is answering it.
		"relay": sdk.Method(func(ctx context.Context, callsign string) (word string, err error) {
			err = p.in.Host.Invoke(ctx, callsign, "ask", p.in.Callsign, &word)
			return word, err
		}),
		"suspend": sdk.Method(func(ctx context.Context, callsign string) (any, error) {
			if err := p.in.Host.Resume(ctx, callsign); err != nil {
				return nil, err
			}
			return nil, p.in.Host.Suspend(ctx, callsign)
		}),
		"watch": sdk.Method(func(_ context.Context, callsign string) (any, error) {
			p.background.Go(func() { p.watch(callsign) })
			return nil, nil
		}),
		"quit": sdk.Method(func(context.Context, struct{}) (any, error) {
			p.background.Go(func() { _ = p.in.Host.Deactivate(p.life, "") }) // the error can reach no caller
			return nil, nil
		}),
		"nap": sdk.Method(func(context.Context, struct{}) (any, error) {
			p.background.Go(func() {
				err := p.in.Host.Hibernate(p.life, "")
				p.in.Emit("napped", errors.Is(err, sdk.ErrSlept))
			})
			return nil, nil
		}),
	}
}

// watch sends an event for each change that it sees, until the parrot ends.
func (p *parrot) watch(callsign string) {
	for change, err := range p.in.Host.Watch(p.life, callsign) {
		if err != nil {
			p.in.Emit("saw", err.Error())
			return
		}
		p.in.Emit("saw", string(change.State)+" "+string(change.Control))
	}
}

// TestHost lets the plugin look at, operate and call another through the host,
// before and after a sleep of its own.
func TestHost(t *testing.T) {
	with := options
	with.Beside, with.Role = []string{"Other"}, "operate"
	h := sdktest.Start(t, with)
	saw := func(want string) {
		t.Helper()
		var got string
		if h.WaitEvent("saw", &got); got != want {
			t.Errorf("saw %q, want %q", got, want)
		}
	}
	must := func(method, callsign string, result any) {
		t.Helper()
		if err := h.Call(method, callsign, result); err != nil {
			t.Errorf("%s %s: %v", method, callsign, err)
		}
	}
	look := func() {
		t.Helper()
		for name, callsign := range map[string]string{"Test": "", "Other": "Other"} {
			var status sdk.Status
			must("status", callsign, &status)
			if status.Callsign != name || status.State != sdk.StateActivated {
				t.Errorf("asked for %q, got %+v", callsign, status)
			}
		}
		var word string
		if must("ask", "Other", &word); word != "dormouse" {
			t.Errorf("the other said %q", word)
		}
		word = ""
		if must("relay", "Other", &word); word != "dormouse" {
			t.Errorf("the other heard %q", word)
		}
		err := h.Call("ask", "Nobody", nil)
		if e, ok := errors.AsType[*shell.PluginError](err); !ok || e.Code != sdk.UnknownKey {
			t.Errorf("nobody was called: %v", err)
		}
	}
	must("watch", "Other", nil)
	saw("activated suspended")
	look()
	must("suspend", "Other", nil)
	saw("activated resumed")
	saw("activated suspended")
	for range 3 {
		h.Hibernate()
		h.Wake()
		saw("activated suspended")
		look()
	}
}

// TestNap hibernates the plugin by its own wish, which can't see the answer.
func TestNap(t *testing.T) {
	h := sdktest.Start(t, options)
	h.Hibernate() // or skip
	h.Wake()
	if err := h.Call("nap", nil, nil); err != nil {
		t.Fatal(err)
	}
	reaches(t, h, shell.Hibernated)
	h.Wake()
	var slept bool
	if h.WaitEvent("napped", &slept); !slept {
		t.Error("it was not told that it slept")
	}
}

// TestQuit ends the plugin by its own wish.
func TestQuit(t *testing.T) {
	h := sdktest.Start(t, options)
	if err := h.Call("quit", nil, nil); err != nil {
		t.Fatal(err)
	}
	reaches(t, h, shell.Deactivated)
}

// reaches waits until the instance is in that state.
func reaches(t *testing.T, h *sdktest.Harness, want shell.State) {
	t.Helper()
	late := time.After(30 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for h.State() != want {
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("it is %s, not %s", h.State(), want)
		}
	}
}

// Without a row of the operator's, a plugin may watch and call others, and not operate them.
func TestHostNeedsRole(t *testing.T) {
	with := options
	with.Beside = []string{"Other"}
	h := sdktest.Start(t, with)
	var word string
	if err := h.Call("ask", "Other", &word); err != nil || word != "dormouse" {
		t.Errorf("the other said %q, %v", word, err)
	}
	err := h.Call("suspend", "Other", nil)
	if e, ok := errors.AsType[*shell.PluginError](err); !ok || e.Code != sdk.PrivilegedRequest || !strings.Contains(e.Message, `[[access]] with plugin = "Test" and role = "operate"`) {
		t.Errorf("the plugin operated the other: %v", err)
	}
}
