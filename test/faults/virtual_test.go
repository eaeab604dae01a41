package faults

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// brood is an instance that makes virtual plugins when it is told to.
func brood() string {
	return plugin("Brood", programs+"/brood", `restart = { policy = "on-failure", limit = 1000, backoff = "10ms" }`)
}

// virtualPoints are all there are while a virtual plugin is made and removed.
var virtualPoints = []string{"virtual.creating", "virtual.kept", "virtual.created", "virtual.removing", "virtual.emptied", "virtual.removed"}

// A host that is killed at any step of making or removing a virtual plugin is followed by one where
// the virtual plugin is there or not, whole; the plugin's next try ends what was begun, and nothing
// is left of one that was removed.
func TestKilledHostWithVirtuals(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Logf("the seed is %d", seed)
	chosen := rand.New(rand.NewPCG(seed, 0)).Perm(2 * len(virtualPoints))
	if !thorough {
		chosen = chosen[:4]
	}
	for _, i := range chosen {
		on, point := policies[i%2], virtualPoints[i/2]
		t.Run(on+"/"+point, func(t *testing.T) {
			runBeside(t)
			killHostWithVirtual(t, on, point)
		})
	}
}

func killHostWithVirtual(t *testing.T, on, point string) {
	t.Helper()
	s := newSite(t, policy(on), brood())
	first := s.start(point)
	until(t, "the parent to be active", func() bool { return first.dead() || first.ask("Brood.who", nil, nil) == nil })
	for _, call := range []struct {
		method string
		params any
	}{{"Brood.create", "First"}, {"First.count", nil}, {"Brood.remove", "First"}} {
		if err := first.ask(call.method, call.params, nil); errors.Is(err, errRefused) {
			t.Fatalf("%s: %v; the host's log is:\n%s", call.method, err, first.log.String())
		}
	}
	first.killed()

	second := s.start("")
	until(t, "the parent to be active", func() bool { return second.ask("Brood.who", nil, nil) == nil })
	there := slices.Contains(second.callsigns(), "First")
	if wanted := point != "virtual.creating" && point != "virtual.removed"; there != wanted {
		t.Errorf("after a kill at %s it is there: %t", point, there)
	}
	if there {
		second.must("First.who", nil, nil)
	}
	second.must("Brood.remove", "First", nil)
	if slices.Contains(second.callsigns(), "First") {
		t.Error("it was removed, and is there")
	}
	for range 2 {
		second.must("Brood.create", "First", nil)
	}
	var count int
	if second.must("First.count", nil, &count); count != 1 {
		t.Errorf("a new one counts %d: something is left of the one before", count)
	}
	second.end()
	audit(t, s, nil, "")
}

// callsigns returns the callsigns of all instances.
func (h *host) callsigns() (all []string) {
	h.t.Helper()
	var records []struct{ Callsign string }
	h.must("Controller.status", nil, &records)
	for _, r := range records {
		all = append(all, r.Callsign)
	}
	return all
}

// A parent that is killed again and again while it makes and removes virtual plugins has, in the
// end, each one that it was told of as made, and none that it was told of as removed.
func TestKilledParent(t *testing.T) {
	runBeside(t)
	s := newSite(t, policy("stop"), brood())
	h := s.start("")
	until(t, "the parent to be active", func() bool { return h.ask("Brood.who", nil, nil) == nil })
	var killing sync.WaitGroup
	stop := make(chan struct{})
	killing.Go(func() {
		for range 5 {
			until(t, "the parent to run", func() bool { return h.ask("Brood.who", nil, nil) == nil })
			var all []status
			if h.ask("Controller.status@Brood", nil, &all) == nil && all[0].PID != 0 {
				_ = syscall.Kill(all[0].PID, syscall.SIGKILL)
			}
		}
		close(stop)
	})
	made, unsure := make(map[string]bool), make(map[string]bool)
	for i := 0; ; i++ {
		callsign, method := fmt.Sprintf("V%d", i%40), "Brood.create"
		if made[callsign] {
			method = "Brood.remove"
		}
		if err := h.ask(method, callsign, nil); err != nil {
			unsure[callsign] = true
		} else {
			made[callsign] = method == "Brood.create"
			delete(unsure, callsign)
		}
		select {
		case <-stop:
		default:
			continue
		}
		break
	}
	killing.Wait()
	until(t, "the parent to run", func() bool { return h.ask("Brood.who", nil, nil) == nil })
	check := func(h *host) {
		t.Helper()
		now := h.callsigns()
		for callsign, wanted := range made {
			if there := slices.Contains(now, callsign); there != wanted && !unsure[callsign] {
				t.Errorf("%s is there: %t, want %t", callsign, there, wanted)
			}
		}
		for _, callsign := range now {
			if _, known := made[callsign]; strings.HasPrefix(callsign, "V") && !known && !unsure[callsign] {
				t.Errorf("%s is there, and was never made", callsign)
			}
		}
	}
	check(h)
	h.end()
	next := s.start("")
	until(t, "the parent to run", func() bool { return next.ask("Brood.who", nil, nil) == nil })
	check(next)
	for i := range 40 {
		next.must("Brood.create", fmt.Sprintf("V%d", i), nil)
	}
	next.end()
	audit(t, s, nil, "")
}
