package hibernatetest

import (
	"context"
	"testing"
)

// InPlaceSubject is a process tree together with an engine that puts it to sleep in place.
// The tree must have enough memory to page out.
type InPlaceSubject interface {
	// Sleep has the engine put the tree to sleep, and Wake has it wake the tree.
	Sleep(ctx context.Context) error
	Wake() error
	// State, Advance, Stopped and End do what they do in Subject.
	State(t *testing.T) string
	Advance(t *testing.T)
	Stopped(t *testing.T) bool
	End(t *testing.T)
	// Resident returns how many bytes of memory the tree takes.
	Resident() int64
}

// RunInPlaceSuite tests an engine that makes no image: it runs those tests of RunEngineSuite
// that are not about files. check is the engine's Check; start makes a new subject for each
// test.
func RunInPlaceSuite(t *testing.T, check func(context.Context) error, start func(t *testing.T) InPlaceSubject) { //nolint:thelper // its subtests are the tests
	t.Run("check passes and is repeatable", func(t *testing.T) {
		for range 2 {
			must(t, check(t.Context()))
		}
	})
	t.Run("what sleeps does not run and takes little memory", func(t *testing.T) {
		s := start(t)
		defer s.End(t)
		before := s.Resident()
		must(t, s.Sleep(t.Context()))
		if !s.Stopped(t) {
			t.Error("the tree runs in its sleep")
		}
		if after := s.Resident(); after > before/2 {
			t.Errorf("%d KiB of %d are resident", after>>10, before>>10)
		}
		must(t, s.Wake())
	})
	t.Run("what wakes has its state, again and again", func(t *testing.T) {
		s := start(t)
		defer s.End(t)
		for range 3 {
			s.Advance(t)
			before := s.State(t)
			must(t, s.Sleep(t.Context()))
			must(t, s.Wake())
			if got := s.State(t); got != before {
				t.Fatalf("the tree woke with state %q, want %q", got, before)
			}
			if s.Stopped(t) {
				t.Error("the tree is stopped after its wake")
			}
		}
	})
	t.Run("a sleep that fails leaves the tree running", func(t *testing.T) {
		s := start(t)
		defer s.End(t)
		before := s.State(t)
		ended, end := context.WithCancel(t.Context())
		end()
		if err := s.Sleep(ended); err == nil {
			t.Fatal("the tree was put to sleep although there was no time")
		}
		if got := s.State(t); got != before {
			t.Errorf("the tree has state %q, want %q", got, before)
		}
		if s.Stopped(t) {
			t.Error("the tree is stopped after a sleep that failed")
		}
		must(t, s.Sleep(t.Context()))
		must(t, s.Wake())
		if got := s.State(t); got != before {
			t.Errorf("after the next attempt the tree has state %q, want %q", got, before)
		}
	})
	t.Run("what sleeps can be ended", func(t *testing.T) {
		s := start(t)
		must(t, s.Sleep(t.Context()))
		s.End(t)
	})
	t.Run("what runs meanwhile is not touched", func(t *testing.T) {
		a, b := start(t), start(t)
		defer a.End(t)
		defer b.End(t)
		before := b.State(t)
		must(t, a.Sleep(t.Context()))
		if got := b.State(t); got != before {
			t.Errorf("another tree has state %q, want %q", got, before)
		}
		must(t, a.Wake())
	})
}
