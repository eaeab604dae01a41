package sdktest_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"dormouse/plugins/sdk"
	"dormouse/plugins/sdk/sdktest"
	"dormouse/shell"
)

func TestMain(m *testing.M) { sdktest.Main(m, &parrot{}) }

// parrot repeats its word, and remembers why it was ended.
type parrot struct {
	in     *sdk.Instance
	config struct {
		Word string `json:"word"`
	}
	woken []uint64
	began int // lives

	life       context.Context // ends when the parrot is to
	die        context.CancelFunc
	background sync.WaitGroup
}

func (p *parrot) Initialize(_ context.Context, in *sdk.Instance) error {
	p.in = in
	p.life, p.die = context.WithCancel(context.Background())
	if err := in.Configuration.Decode(&p.config); err != nil {
		return err
	}
	if p.config.Word == "" {
		return errors.New("a parrot needs a word")
	}
	p.in.Emit("hatched", nil)
	return nil
}

func (p *parrot) Deinitialize(context.Context, sdk.Reason) error {
	p.die()
	p.background.Wait()
	p.in.Emit("flew", nil)
	return nil
}

// Web answers with the word, once for each byte of the body. The path /die ends the parrot.
func (p *parrot) Web() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/die" {
			os.Exit(1)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return // the test sees that the answer is another
		}
		w.Header().Set("Location", r.Header.Get("X-Forwarded-Prefix"))
		w.WriteHeader(http.StatusAccepted)
		_, _ = io.WriteString(w, strings.Repeat(p.config.Word, len(body))+sdk.CallerOf(r.Context()))
	})
}

func (p *parrot) Suspend(context.Context) error {
	p.in.Emit("hushed", nil)
	return nil
}

func (p *parrot) Resume(context.Context) error {
	p.in.Emit("roused", nil)
	return nil
}

func (p *parrot) BeforeCheckpoint(context.Context) error {
	p.in.Emit("nodded", nil)
	return nil
}

func (p *parrot) AfterRestore(_ context.Context, w sdk.Wake) error {
	p.woken = append(p.woken, w.Generation)
	if w.Warm {
		p.began++
	}
	p.in.Emit("woke", w.Generation)
	return nil
}

func (p *parrot) Methods() sdk.Methods {
	methods := sdk.Methods{
		"word":  sdk.Method(func(context.Context, struct{}) (string, error) { return p.config.Word, nil }),
		"began": sdk.Method(func(context.Context, struct{}) (int, error) { return p.began, nil }),
		"woken": sdk.Method(func(context.Context, struct{}) (int, error) { return len(p.woken), nil }),
		"shout": sdk.Method(func(_ context.Context, n int) (any, error) {
			for i := range n {
				p.in.Emit("shout", i)
			}
			return nil, nil
		}),
	}
	maps.Copy(methods, p.hostMethods())
	maps.Copy(methods, p.subsystemMethods())
	maps.Copy(methods, p.timeMethods())
	maps.Copy(methods, p.stateMethods())
	maps.Copy(methods, p.taskMethods())
	maps.Copy(methods, p.virtualMethods())
	maps.Copy(methods, p.typeMethods())
	return methods
}

var options = sdktest.Options{Configuration: map[string]any{"word": "dormouse"}}

func TestCall(t *testing.T) {
	h := sdktest.Start(t, options)
	var word string
	if err := h.Call("word", nil, &word); err != nil || word != "dormouse" {
		t.Errorf("got %q, %v", word, err)
	}
	if err := h.Call("sing", "loud", nil); !errors.Is(err, shell.ErrUnknownMethod) {
		t.Errorf("got %v, want %v", err, shell.ErrUnknownMethod)
	}
	err := h.Call("shout", "loud", nil)
	if answer, ok := errors.AsType[*shell.PluginError](err); !ok || answer.Code != sdk.InvalidParameter {
		t.Errorf("got %v, want code %d", err, sdk.InvalidParameter)
	}
	h.Deactivate()
	if err := h.Call("word", nil, nil); !errors.Is(err, shell.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// Each warm start begins where Initialize had returned, and is told so.
func TestStartWarm(t *testing.T) {
	warm := options
	warm.WarmStart = true
	h := sdktest.Start(t, warm)
	for range 2 {
		h.StartWarm()
		var word string
		var woken, began int
		err := errors.Join(h.Call("word", nil, &word), h.Call("woken", nil, &woken), h.Call("began", nil, &began))
		if err != nil || word != "dormouse" || woken != 1 || began != 1 {
			t.Errorf("its word is %q, it woke %d times and began %d times: %v", word, woken, began, err)
		}
	}
}

func TestRefused(t *testing.T) {
	err := sdktest.StartRefused(t, sdktest.Options{})
	if !errors.Is(err, shell.ErrInitialization) || !strings.Contains(err.Error(), "a parrot needs a word") {
		t.Errorf("got %v", err)
	}
}

// What a hook emits is told when it has returned, also if the plugin sleeps or ends then.
func TestEventsOfHooks(t *testing.T) {
	h := sdktest.Start(t, options)
	h.TakeEvent("hatched", nil)
	h.Resume()
	h.TakeEvent("roused", nil)
	h.Suspend()
	h.TakeEvent("hushed", nil)
	h.Hibernate()
	h.TakeEvent("nodded", nil)
	h.Wake()
	h.TakeEvent("woke", nil)
	h.Deactivate()
	h.TakeEvent("flew", nil)
}

func TestHibernate(t *testing.T) {
	h := sdktest.Start(t, options)
	h.Resume()
	const sleeps, events = 3, 100
	for sleep := 1; sleep <= sleeps; sleep++ {
		if err := h.Call("shout", events, nil); err != nil {
			t.Fatal(err)
		}
		h.Hibernate()
		if h.State() != shell.Hibernated {
			t.Fatalf("state is %s", h.State())
		}
		if err := h.Call("word", nil, nil); !errors.Is(err, shell.ErrHibernated) {
			t.Errorf("got %v", err)
		}
		h.Wake()
		var woken, generation, n int
		if err := h.Call("woken", nil, &woken); err != nil || woken != sleep {
			t.Errorf("woken %d times, %v, want %d", woken, err, sleep)
		}
		h.WaitEvent("woke", &generation)
		if generation != sleep {
			t.Errorf("woken with generation %d, want %d", generation, sleep)
		}
		for want := range events { // none lost, none twice
			if h.WaitEvent("shout", &n); n != want {
				t.Fatalf("got event %d, want %d", n, want)
			}
		}
	}
}
