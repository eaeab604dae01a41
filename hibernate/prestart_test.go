package hibernate_test

import (
	"context"
	"errors"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/hibernate"
	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/cgroup"
)

// startNoter is a fake engine that notes its starts, and which orders use them.
type startNoter struct {
	*hibernatetest.Fake
	tree  *tree // shares the notes
	begun *notedStart
}

type notedStart struct{ tree *tree }

func (s *notedStart) Close() { s.tree.asked = append(s.tree.asked, "close") }

func (s *startNoter) Prestart(cgroup.Dir, []hibernate.Inherited) hibernate.Prestarted {
	s.tree.asked = append(s.tree.asked, "start")
	s.begun = &notedStart{s.tree}
	return s.begun
}

func (s *startNoter) noteStart(what string, given hibernate.Prestarted) {
	if given == s.begun {
		what += " started"
	}
	s.tree.asked = append(s.tree.asked, what)
}

func (s *startNoter) Dump(ctx context.Context, d hibernate.DumpOrder) error {
	s.noteStart("dump", d.Prestarted)
	return s.Fake.Dump(ctx, d)
}

func (s *startNoter) Restore(ctx context.Context, r hibernate.RestoreOrder) (*os.Process, error) {
	s.noteStart("restore", r.Prestarted)
	return s.Fake.Restore(ctx, r)
}

// An engine starts while the tree is made quiet or the image is verified, and is ended also
// after an error.
func TestEngineStartsEarly(t *testing.T) {
	b := newFixture(t)
	e := &startNoter{Fake: b.engine, tree: b.tree}
	expect := func(want ...string) {
		t.Helper()
		b.store.Close() // waits until the engines have ended
		if diff := cmp.Diff(want, b.tree.asked); diff != "" {
			t.Error(diff)
		}
		b.tree.asked = nil
	}

	b.tree.quiesceErr = errors.New("busy")
	if _, err := hibernate.Checkpoint(t.Context(), e, b.imageDir, b.tree); !errors.Is(err, b.tree.quiesceErr) {
		t.Errorf("got %v", err)
	}
	expect("start", "quiesce", "close", "revive")

	b.tree.quiesceErr = nil
	image, err := hibernate.Checkpoint(t.Context(), e, b.imageDir, b.tree)
	must(t, err)
	expect("start", "quiesce", "dump started", "close", "kill")

	b.engine.RestoreError = errors.New("broken")
	if _, err := image.Restore(t.Context(), e, b.optionsWithoutCgroup()); !errors.Is(err, b.engine.RestoreError) {
		t.Errorf("got %v", err)
	}
	expect("start", "restore started", "close", "restore", "close")

	b.engine.RestoreError = nil
	root, err := image.Restore(t.Context(), e, b.optionsWithoutCgroup())
	must(t, err)
	expect("start", "restore started", "close")
	must(t, killAndWait(root))
}
