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

// slowStarter is a fake engine that notes what becomes of its starts.
type slowStarter struct {
	*hibernatetest.Fake
	tree  *tree // shares the notes
	begun *started
}

type started struct{ tree *tree }

func (s *started) Close() { s.tree.asked = append(s.tree.asked, "close") }

func (s *slowStarter) Prestart(cgroup.Dir, []hibernate.Inherited) hibernate.Prestarted {
	s.tree.asked = append(s.tree.asked, "start")
	s.begun = &started{s.tree}
	return s.begun
}

func (s *slowStarter) note(what string, given hibernate.Prestarted) {
	if given == s.begun {
		what += " started"
	}
	s.tree.asked = append(s.tree.asked, what)
}

func (s *slowStarter) Dump(ctx context.Context, d hibernate.DumpOrder) error {
	s.note("dump", d.Prestarted)
	return s.Fake.Dump(ctx, d)
}

func (s *slowStarter) Restore(ctx context.Context, r hibernate.RestoreOrder) (*os.Process, error) {
	s.note("restore", r.Prestarted)
	return s.Fake.Restore(ctx, r)
}

// An engine starts while the tree makes itself ready or the image is verified, and
// is ended whatever comes of that.
func TestEngineStartsEarly(t *testing.T) {
	b := newBench(t)
	e := &slowStarter{Fake: b.engine, tree: b.tree}
	expect := func(want ...string) {
		t.Helper()
		b.store.Close() // what is closed in the background is closed then
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
	check(t, err)
	expect("start", "quiesce", "dump started", "close", "kill")

	b.engine.RestoreError = errors.New("broken")
	if _, err := image.Restore(t.Context(), e, b.noCgroup()); !errors.Is(err, b.engine.RestoreError) {
		t.Errorf("got %v", err)
	}
	expect("start", "restore started", "close", "restore", "close")

	b.engine.RestoreError = nil
	root, err := image.Restore(t.Context(), e, b.noCgroup())
	check(t, err)
	expect("start", "restore started", "close")
	check(t, end(root))
}
