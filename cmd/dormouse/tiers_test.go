package main

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"dormouse/plugins/controller/dialect"
	"dormouse/shell/shellpb"
)

const sleepyCounter = `
[hibernate]
pressure = "on"

[[plugin]]
callsign = "Counter"
executable = "EXAMPLES/counter"
start-mode = "activated"
on-call = "wake"
idle-suspend = "10ms"
idle-hibernate = "20ms"
min-awake = "20ms"
`

// waitCounter returns when the log has the counter's message so many times.
func (h *testHost) waitCounter(t *testing.T, message string, times int) {
	t.Helper()
	late := time.After(testPatience)
	for {
		h.log.mu.Lock()
		seen, changed := 0, h.log.changed
		for _, text := range h.log.lines {
			var line struct{ Callsign, Message string }
			if json.Unmarshal([]byte(text), &line) == nil && line.Callsign == "Counter" && line.Message == message {
				seen++
			}
		}
		h.log.mu.Unlock()
		if seen >= times {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("Counter was %s %d times, not %d; the log is:\n%s", message, seen, times, h.log)
		}
	}
}

// TestSleepsAndWakesByItself lets the counter fall asleep thirty times, and has
// callers come while it does and when it has: each counts once.
func TestSleepsAndWakesByItself(t *testing.T) {
	requireCRIU(t)
	const cycles, early, callers = 30, 3, 6
	h := startHost(t, t.TempDir(), sleepyCounter)
	c := newClient(h.address)
	var mu sync.Mutex
	answers := make(map[int64]int)
	increment := func() {
		result, err := c.call(t.Context(), "Counter.increment", map[string]any{})
		var value struct{ Value int64 }
		if err == nil {
			err = json.Unmarshal(result, &value)
		}
		if err != nil {
			t.Errorf("a call failed: %v", err)
		}
		mu.Lock()
		defer mu.Unlock()
		answers[value.Value]++
	}
	for cycle := 1; cycle <= cycles && !t.Failed(); cycle++ {
		var all sync.WaitGroup
		h.waitCounter(t, "hibernating", cycle)
		for range early {
			all.Go(increment)
		}
		if cycle%2 == 0 { // else they are what wakes it
			all.Wait()
		}
		for range callers - early {
			all.Go(increment)
		}
		all.Wait()
	}
	if len(answers) != cycles*callers {
		t.Errorf("%d different answers, want %d", len(answers), cycles*callers)
	}
	for i := range int64(cycles * callers) {
		if answers[i+1] != 1 {
			t.Errorf("%d was answered %d times", i+1, answers[i+1])
		}
	}
	h.waitCounter(t, "hibernated", cycles)
}

func TestExplain(t *testing.T) {
	configuration := strings.NewReplacer("10ms", "1h", `"20ms"`, `"2h"`, `min-awake = "20ms"`, `min-awake = "1ms"`).Replace(sleepyCounter)
	h := startHost(t, t.TempDir(), configuration)
	h.wait(t, "ready")
	h.dormouse(t, "plugin", "explain", "Counter").expect(t, exitDone,
		"Counter: the host will suspend it in 1h0m0s, unless it is used before; the host hibernates it when memory is short.",
		"suspend at ", "it has not been used for 1h0m0s (idle-suspend)", "would save", "last used", "is stopped by nothing that is known")
	var e dialect.Explanation
	out := h.dormouse(t, "plugin", "explain", "Counter", "-o", "json").expect(t, exitDone).out
	if err := json.Unmarshal([]byte(out), &e); err != nil || e.Next == nil || e.Next.Do != "suspend" || e.Saves == 0 {
		t.Errorf("got %s, %v", out, err)
	}
	h.dormouse(t, "plugin", "explain", "Nobody").expect(t, exitFailed, "!Nobody")
}

// What the host suspended before it ended is resumed when the next one wakes it.
func TestIdledIsResumedByTheNextHost(t *testing.T) {
	requireCRIU(t)
	root := t.TempDir()
	first := startHost(t, root, sleepyCounter)
	first.waitCounter(t, "hibernated", 1)
	first.end(t)
	quiet := strings.NewReplacer("10ms", "1h", `idle-hibernate = "20ms"`, `idle-hibernate = "2h"`).Replace(sleepyCounter)
	second := startHost(t, root, quiet)
	second.wait(t, "ready")
	second.dormouse(t, "call", "Counter.get").expect(t, exitDone)
	second.waitCounter(t, "resumed", 1)
}

// Native clients wake a plugin too, unless they only look: the ledger is the same.
func TestNativeCallsWake(t *testing.T) {
	requireCRIU(t)
	const callers = 8
	h := startHost(t, t.TempDir(), sleepyCounter)
	c, _ := h.nativeClient(t)
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	counter := c.Conn("Counter")
	h.waitCounter(t, "hibernated", 1)
	if _, err := healthpb.NewHealthClient(counter).Check(ctx, &healthpb.HealthCheckRequest{}); err != nil { // the host's own
		t.Error(err)
	}
	_, err := shellpb.NewDispatcherClient(counter).Exists(ctx, &shellpb.ExistsRequest{Method: "get"})
	if shellpb.ErrorDetailOf(err).GetCode() != 46 {
		t.Errorf("exists of one that sleeps: %v", err)
	}
	if state := h.show(t, "Counter").State; state != "hibernated" {
		t.Errorf("looking woke it: it is %s", state)
	}
	var all sync.WaitGroup
	answers := make([]string, callers)
	for i := range callers {
		all.Go(func() {
			answer, err := shellpb.NewDispatcherClient(counter).Invoke(ctx, &shellpb.InvokeRequest{Method: "increment"})
			answers[i] = string(answer.GetResult())
			if err != nil {
				t.Errorf("a call failed: %v", err)
			}
		})
	}
	all.Wait()
	slices.Sort(answers)
	for i, answer := range answers {
		if want := fmt.Sprintf(`{"value":%d}`, i+1); answer != want {
			t.Errorf("got %s, want %s", answer, want)
		}
	}
	h.waitCounter(t, "hibernated", 2)
}
