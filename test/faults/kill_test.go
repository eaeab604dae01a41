package faults

import (
	"errors"
	"testing"
)

// What must be the truth after a host was killed at a point.
const (
	fresh  = "fresh" // the plugin has ended, and is started anew
	image  = "image" // it sleeps
	lives  = "lives" // its process is adopted
	before = 44      // what the counter stands at before anything goes wrong
	begin  = 41      // where a fresh one begins
)

// points are all there are, in the order of one life, with what must come after
// by the policies stop and adopt.
var points = []struct {
	name        string
	stop, adopt string
	quick       bool // tried also when time is short
}{
	{"launch.begun", fresh, fresh, false},
	{"launch.started", fresh, fresh, true},
	{"launch.shaken", fresh, fresh, false},
	{"launch.informed", fresh, fresh, false},
	{"initialize.begun", fresh, fresh, false},
	{"initialize.done", fresh, fresh, true},
	{"hibernate.begun", fresh, lives, false},
	{"hibernate.quiet", fresh, lives, true},
	{"hibernate.dumped", fresh, lives, true},
	{"hibernate.sealed", fresh, lives, false},
	{"hibernate.committed", image, image, true},
	{"hibernate.durable", image, image, false},
	{"hibernate.killed", image, image, true},
	{"wake.begun", image, image, false},
	{"wake.verified", image, image, false},
	{"wake.loaded", image, image, true},
	{"wake.consumed", fresh, lives, true},
	{"wake.restored", fresh, lives, false},
	{"wake.connected", fresh, lives, false},
	{"deactivate.begun", fresh, fresh, false},
	{"stop.begun", fresh, fresh, true},
	{"stop.asked", fresh, fresh, false},
	{"stop.ended", fresh, fresh, false},
}

// A host that is killed between any two steps is followed by one that finds one
// truth, and nothing else.
func TestKilledHost(t *testing.T) {
	t.Parallel()
	needCRIU(t)
	for _, on := range policies {
		for _, p := range points {
			if !p.quick && !thorough {
				continue
			}
			t.Run(on+"/"+p.name, func(t *testing.T) {
				runBeside(t)
				want := p.stop
				if on == "adopt" {
					want = p.adopt
				}
				killHost(t, policy(on), p.name, want)
			})
		}
	}
}

func killHost(t *testing.T, text, point, want string) {
	t.Helper()
	s := newSite(t, text, counter())
	first := s.start(point)
	pid := live(t, first, life)
	first.killed()

	second := s.start("")
	st := second.settled()
	switch want {
	case fresh:
		if st.PID == pid || st.State == "hibernated" {
			t.Errorf("it is %+v, and was process %d", st, pid)
		}
		audit(t, s, second, "active")
	case image:
		if st.State != "hibernated" {
			t.Errorf("it is %+v", st)
		}
		audit(t, s, second, "hibernated")
		second.must("Controller.activate", callsign, nil)
	case lives:
		if st.State == "hibernated" || len(st.History) == 0 || st.History[0].Event != "adopt" || st.Error != "" {
			t.Errorf("it is %+v", st)
		}
		audit(t, s, second, "active")
	}
	value := before
	if want == fresh {
		value = begin
	}
	if got := second.count().Value; got != value {
		t.Errorf("it counts from %d, want %d; the host's log is:\n%s", got, value, second.log.String())
	}
	again(t, s, second, value)
}

// callsign are parameters of most operations.
var callsign = map[string]string{"callsign": "Counter"}

// life is all that can happen to a plugin.
var life = []string{
	"Counter.increment", "Counter.increment", "Counter.increment",
	"Controller.hibernate", "Controller.activate", "Controller.deactivate",
}

// live leads the plugin through such a life, as far as the host comes, and returns
// its first PID.
func live(t *testing.T, h *host, methods []string) (pid int) {
	t.Helper()
	until(t, "the instance to be active", func() bool {
		var all []status
		if h.dead() || h.ask("Controller.status@Counter", nil, &all) != nil {
			return h.dead()
		}
		pid = all[0].PID
		return all[0].State == "suspended"
	})
	for _, method := range methods {
		var params any
		if method != "Counter.increment" {
			params = callsign
		}
		if err := h.ask(method, params, nil); errors.Is(err, errRefused) {
			t.Fatalf("%v; the host's log is:\n%s", err, h.log.String())
		} else if err != nil {
			break
		}
	}
	return pid
}

// again sees to it that all works as ever, and that nothing is left in the end.
func again(t *testing.T, s *site, h *host, value int) {
	t.Helper()
	h.must("Counter.increment", nil, nil)
	if st := h.status(); st.State == "resumed" {
		h.must("Controller.suspend", callsign, nil)
	}
	h.must("Controller.hibernate", callsign, nil)
	audit(t, s, h, "hibernated")
	h.must("Controller.activate", callsign, nil)
	audit(t, s, h, "active")
	if got := h.count().Value; got != value+1 {
		t.Errorf("after a sleep it counts from %d, want %d", got, value+1)
	}
	h.end()
	audit(t, s, nil, "")
}

// policies are those of on-host-exit.
var policies = []string{"stop", "adopt"}
