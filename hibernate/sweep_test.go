package hibernate_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dormouse/hibernate"
)

const week = 7 * 24 * time.Hour

// sweeper sweeps a store at moments of its own.
type sweeper struct {
	*fixture
	t       *testing.T
	now     hibernate.Moment
	known   []string
	missing []string
}

func newSweeper(t *testing.T) *sweeper {
	t.Helper()
	b := newFixture(t)
	return &sweeper{fixture: b, t: t, now: hibernate.Moment{Wall: time.Now().Add(time.Hour), BootID: "first", Uptime: time.Hour}}
}

// pass lets time pass on both clocks; a reboot begins another boot.
func (s *sweeper) pass(d time.Duration) {
	s.now.Wall, s.now.Uptime = s.now.Wall.Add(d), s.now.Uptime+d
}

func (s *sweeper) reboot() { s.now.BootID, s.now.Uptime = s.now.BootID+"+", time.Minute }

// expect sweeps, and compares what was removed and what was kept.
func (s *sweeper) expect(what, removed, kept string) {
	s.t.Helper()
	swept, err := s.store.Sweep(hibernate.Sweeping{
		KeepFor:   week,
		IsKnown:   func(callsign string) bool { return slices.Contains(s.known, callsign) },
		IsMissing: func(callsign string) bool { return slices.Contains(s.missing, callsign) },
		Now:       s.now,
	})
	must(s.t, err)
	var gone, stay []string
	for _, one := range swept.Removed {
		gone = append(gone, one.String())
	}
	for _, one := range swept.Kept {
		stay = append(stay, one.String())
		if left := one.Until.Sub(s.now.Wall); left <= 0 || left > week {
			s.t.Errorf("%s: %s is kept for %s", what, one, left)
		}
	}
	if got := strings.Join(gone, ", "); got != removed {
		s.t.Errorf("%s: removed %q, want %q", what, got, removed)
	}
	if got := strings.Join(stay, ", "); got != kept {
		s.t.Errorf("%s: kept %q, want %q", what, got, kept)
	}
}

// What no instance can wake is kept for a week from the first sweep that finds it so, however
// long ago it was written, whether the machine was off meanwhile or not.
func TestSweep(t *testing.T) {
	s := newSweeper(t)
	s.known = []string{"Counter"}
	s.mustCheckpoint(t)
	s.writeImage(t, "Counter/refused", 1, 3*week)
	s.writeImage(t, "Lost/image", 1, 2*week)
	s.writeImage(t, "Lost/golden", 1, 2*week)
	all := "Lost 1 B (golden), Counter 1 B (refused), Lost 1 B"
	s.expect("first", "", all)
	s.pass(week - time.Hour)
	s.expect("within a week", "", all)
	s.reboot()
	s.pass(30 * time.Minute)
	s.expect("after a reboot", "", all)
	s.pass(time.Hour)
	s.expect("after a week", all, "")
	s.expect("once more", "", "")
	if _, err := s.imageDir.Image(); err != nil {
		t.Errorf("the image of an instance that exists: %v", err)
	}
	if notes, _ := filepath.Glob(filepath.Join(s.dir, "*", "*.unusable")); len(notes) > 0 {
		t.Errorf("notes are left: %v", notes)
	}
}

// An instance that comes back, and goes again, is missed anew; so is a later image.
func TestSweepBeginsAnew(t *testing.T) {
	s := newSweeper(t)
	s.writeImage(t, "Lost/image", 1, week)
	s.expect("first", "", "Lost 1 B")
	s.pass(week)
	s.known = []string{"Lost"}
	s.expect("it came back", "", "")
	s.known = nil
	s.expect("it went again", "", "Lost 1 B")
	s.pass(week - time.Minute)
	s.expect("almost a week later", "", "Lost 1 B")
	s.writeImage(t, "Lost/image", 2, time.Minute)
	s.pass(time.Hour)
	s.expect("another image", "", "Lost 2 B")
	s.pass(week)
	s.expect("a week later", "Lost 2 B", "")
}

// While it is not known whether there is an instance, nothing of it is touched, and its week
// goes on if it turns out that there is none.
func TestSweepSparesTheMissing(t *testing.T) {
	s := newSweeper(t)
	s.missing = []string{"Missing", "Counter"}
	s.known = []string{"Counter"}
	for _, path := range []string{"Missing/image", "Missing/golden", "Missing/refused"} {
		s.writeImage(t, path, 1, 2*week)
	}
	s.expect("first", "", "")
	s.pass(2 * week)
	s.expect("later", "", "")
	s.missing = nil
	all := "Missing 1 B (golden), Missing 1 B, Missing 1 B (refused)"
	s.expect("no file names it", "", all)
	s.missing = []string{"Missing"}
	s.pass(week)
	s.expect("a file may name it again", "", "")
	s.missing = nil
	s.expect("and does not", all, "")
}

// TestSweepWhenTheClockIsSet sets the wall clock in every way between two sweeps.
func TestSweepWhenTheClockIsSet(t *testing.T) {
	for name, test := range map[string]struct {
		first time.Duration // the wall clock at the first sweep, from now
		set   func(s *sweeper)
		swept bool
	}{
		"forward, in one boot": {set: func(s *sweeper) { s.now.Wall = s.now.Wall.Add(100 * week) }},
		"back, in one boot": {
			set:   func(s *sweeper) { s.pass(week); s.now.Wall = s.now.Wall.Add(-100 * week) },
			swept: true,
		},
		"back, between two boots": {set: func(s *sweeper) { s.reboot(); s.now.Wall = s.now.Wall.Add(-time.Minute) }},
		"from before the image was written": {
			first: -100 * week,
			set:   func(s *sweeper) { s.reboot(); s.now.Wall = s.now.Wall.Add(100 * week) },
		},
		"not at all": {set: func(s *sweeper) { s.reboot(); s.pass(week) }, swept: true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSweeper(t)
			s.now.Wall = s.now.Wall.Add(test.first)
			s.writeImage(t, "Lost/image", 1, 2*week)
			s.expect("first", "", "Lost 1 B")
			test.set(s)
			if test.swept {
				s.expect("then", "Lost 1 B", "")
				return
			}
			s.expect("then", "", "Lost 1 B")
			s.reboot()
			s.pass(week)
			s.expect("a week later", "Lost 1 B", "")
		})
	}
}

// A note that can't be written keeps the image. A damaged one is written anew, and so is one
// from before the clock was set.
func TestSweepWithoutNotes(t *testing.T) {
	s := newSweeper(t)
	s.writeImage(t, "Lost/image", 1, 2*week)
	note := filepath.Join(s.dir, "Lost/image.unusable")
	must(t, os.WriteFile(note, []byte("{"), 0o600))
	s.expect("damaged", "", "Lost 1 B")
	text, err := os.ReadFile(note)
	must(t, err)
	must(t, os.WriteFile(note, []byte(strings.Replace(string(text), `"clock-set":true`, `"clock-set":false`, 1)), 0o600))
	s.reboot()
	s.pass(2 * week)
	s.expect("from a wrong clock", "", "Lost 1 B")
	must(t, os.Remove(note))
	must(t, os.Mkdir(note, 0o700))
	swept, err := s.store.Sweep(hibernate.Sweeping{
		KeepFor: week, Now: s.now,
		IsKnown: func(string) bool { return false }, IsMissing: func(string) bool { return false },
	})
	if err == nil || !strings.Contains(err.Error(), "cannot note since when") || len(swept.Removed) > 0 {
		t.Errorf("got %v, swept %v", err, swept)
	}
}
