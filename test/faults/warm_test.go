package faults

import (
	"path/filepath"
	"testing"
)

// warmPoints are those on the way to a golden image, and then on the way of a life
// that begins from it.
var warmPoints = []struct {
	name  string
	quick bool
}{
	{"hibernate.begun", false},
	{"hibernate.quiet", true},
	{"hibernate.dumped", true},
	{"hibernate.sealed", false},
	{"hibernate.committed", true},
	{"warm.begun", false},
	{"wake.begun", false},
	{"wake.verified", false},
	{"wake.loaded", true},
	{"wake.consumed", true},
	{"warm.restored", false},
	{"warm.connected", true},
}

// A host that is killed while it makes a golden image, or begins a life from it,
// leaves a plugin that was being started: it is started again, and the
// golden image never passes for an ordinary one.
func TestKilledHostWithGoldenImage(t *testing.T) {
	t.Parallel()
	needCRIU(t)
	for _, on := range policies {
		for _, p := range warmPoints {
			if !p.quick && !thorough {
				continue
			}
			t.Run(on+"/"+p.name, func(t *testing.T) {
				runBeside(t)
				killWarmHost(t, policy(on), p.name)
			})
		}
	}
}

func killWarmHost(t *testing.T, text, point string) {
	t.Helper()
	s := newSite(t, text, counter("warm-start = true"))
	first := s.start(point)
	pid := live(t, first, []string{"Counter.increment", "Controller.deactivate", "Controller.activate", "Counter.increment"})
	first.killed()

	second := s.start("")
	if st := second.settled(); st.PID == pid || st.State != "suspended" {
		t.Errorf("it is %+v, and was process %d", st, pid)
	}
	audit(t, s, second, "active")
	if got := second.count().Value; got != begin {
		t.Errorf("it counts from %d, want %d; the host's log is:\n%s", got, begin, second.log.String())
	}
	if found, _ := filepath.Glob(filepath.Join(s.root, "images", "Counter", "golden", "manifest")); len(found) != 1 {
		t.Errorf("there is no golden image; the host's log is:\n%s", second.log.String())
	}
	again(t, s, second, begin)

	third := s.start("")
	var all []struct{ Warm *struct{ Generation uint64 } }
	third.settled()
	third.must("Controller.status@Counter", nil, &all)
	if all[0].Warm == nil {
		t.Errorf("it did not begin from its golden image; the host's log is:\n%s", third.log.String())
	}
	again(t, s, third, begin)
}
