package hibernate_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/hibernate"
)

// withNewInstance returns a fixture with another instance in the same store.
func (b *fixture) withNewInstance(t *testing.T, callsign string, memory int) *fixture {
	t.Helper()
	other := *b
	other.imageDir = b.store.ImageDir(callsign)
	other.tree = &tree{root: b.engine.StartProcess(t, strings.Repeat("m", memory))}
	return &other
}

const bigSize = 40 << 20

// writeImage puts an image of that size and age into the store.
func (b *fixture) writeImage(t *testing.T, path string, size int, age time.Duration) {
	t.Helper()
	dir := filepath.Join(b.dir, path)
	must(t, os.MkdirAll(dir, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "pages-1.img"), make([]byte, size), 0o600))
	when := time.Now().Add(-age)
	must(t, os.Chtimes(dir, when, when))
}

func TestBudgetRefuses(t *testing.T) {
	b := newFixture(t)
	b.writeImage(t, "Big/image", bigSize, 0)
	b.writeImage(t, "Bad/refused", bigSize, time.Hour)
	b.store.SetLimits(hibernate.Limits{Budget: 82 << 20})
	_, err := hibernate.Checkpoint(t.Context(), b.engine, b.imageDir, b.tree)
	if !errors.Is(err, hibernate.ErrBudget) {
		t.Fatalf("got %v, want %v", err, hibernate.ErrBudget)
	}
	for _, part := range []string{"82 MiB", "Bad 40 MiB (refused), Big 40 MiB", "evict"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q does not say %q", err, part)
		}
	}
	if len(b.tree.asked) != 0 {
		t.Errorf("the tree was asked to %v", b.tree.asked)
	}
	b.store.SetLimits(hibernate.Limits{Budget: 120 << 20})
	b.mustCheckpoint(t)
}

// Quarantined images are evicted without their instances, then the instances with the
// oldest images. No instance is evicted if no eviction would help.
func TestBudgetEvictsTheOldest(t *testing.T) {
	b := newFixture(t)
	b.writeImage(t, "Old/image", bigSize, 2*time.Hour)
	b.writeImage(t, "Bad/refused", bigSize, 3*time.Hour)
	b.writeImage(t, "New/image", bigSize, time.Hour)
	var evicted []string
	limits := hibernate.Limits{Budget: 60 << 20, Evict: func(_ context.Context, callsign string) error {
		evicted = append(evicted, callsign)
		return os.RemoveAll(filepath.Join(b.dir, callsign))
	}}
	limits.Budget = 1 << 20
	b.store.SetLimits(limits)
	if _, err := hibernate.Checkpoint(t.Context(), b.engine, b.imageDir, b.tree); !errors.Is(err, hibernate.ErrBudget) || evicted != nil {
		t.Errorf("got %v, evicted %v", err, evicted)
	}
	limits.Budget = 80 << 20
	b.store.SetLimits(limits)
	b.mustCheckpoint(t)
	if diff := cmp.Diff([]string{"Old"}, evicted); diff != "" {
		t.Error(diff)
	}
	left, err := b.store.ListInEvictionOrder()
	must(t, err)
	var names []string
	for _, one := range left {
		names = append(names, one.Callsign)
	}
	if diff := cmp.Diff([]string{"New", "Counter"}, names); diff != "" {
		t.Error(diff)
	}
}

// A checkpoint fails if an eviction fails or makes no room.
func TestBudgetWithoutRoom(t *testing.T) {
	b := newFixture(t)
	b.writeImage(t, "Old/image", bigSize, 0)
	broken := errors.New("broken")
	for name, answer := range map[string]error{"fails": broken, "does nothing": nil} {
		b.store.SetLimits(hibernate.Limits{Budget: bigSize + 1, Evict: func(context.Context, string) error { return answer }})
		_, err := hibernate.Checkpoint(t.Context(), b.engine, b.imageDir, b.tree)
		if !errors.Is(err, hibernate.ErrBudget) || answer != nil && !errors.Is(err, answer) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

func TestDiskReserve(t *testing.T) {
	b := newFixture(t)
	b.store.SetLimits(hibernate.Limits{Reserve: 1 << 60})
	_, err := hibernate.Checkpoint(t.Context(), b.engine, b.imageDir, b.tree)
	if !errors.Is(err, hibernate.ErrSpace) || !strings.Contains(err.Error(), "free besides [hibernate] reserve of ") || len(b.tree.asked) != 0 {
		t.Errorf("got %v, the tree was asked to %v", err, b.tree.asked)
	}
}

// heldTree is a tree whose Quiesce waits until the test lets it go on.
type heldTree struct {
	*tree
	begun, end chan struct{}
}

func (h heldTree) Quiesce(ctx context.Context) error {
	close(h.begun)
	<-h.end
	return h.tree.Quiesce(ctx)
}

// A checkpoint waits for other checkpoints, no longer than its context allows.
func TestParallelCheckpoints(t *testing.T) {
	b := newFixture(t)
	b.store.SetLimits(hibernate.Limits{Parallel: 1, Budget: 1 << 40})
	first := heldTree{b.tree, make(chan struct{}), make(chan struct{})}
	done := make(chan error)
	go func() {
		_, err := hibernate.Checkpoint(t.Context(), b.engine, b.imageDir, first)
		done <- err
	}()
	<-first.begun
	second := b.withNewInstance(t, "Second", 1)
	short, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := hibernate.Checkpoint(short, b.engine, second.imageDir, second.tree); !errors.Is(err, context.Canceled) || len(second.tree.asked) != 0 {
		t.Errorf("without a turn: %v, asked to %v", err, second.tree.asked)
	}
	close(first.end)
	must(t, <-done)
	second.mustCheckpoint(t)
}

// What may be another instance's image is not removed to make room.
func TestBudgetSparesTheMissing(t *testing.T) {
	b := newFixture(t)
	b.writeImage(t, "Missing/golden", bigSize, 4*time.Hour)
	b.writeImage(t, "Missing/refused", bigSize, 3*time.Hour)
	b.writeImage(t, "Missing/image", bigSize, 2*time.Hour)
	b.writeImage(t, "Old/image", bigSize, time.Hour)
	var evicted []string
	b.store.SetLimits(hibernate.Limits{
		Budget:    130 << 20,
		IsMissing: func(callsign string) bool { return callsign == "Missing" },
		Evict: func(_ context.Context, callsign string) error {
			evicted = append(evicted, callsign)
			return b.store.ImageDir(callsign).RemoveAll()
		},
	})
	b.mustCheckpoint(t)
	if diff := cmp.Diff([]string{"Old"}, evicted); diff != "" {
		t.Errorf("evicted (-want +got):\n%s", diff)
	}
	if left, err := b.store.ListInEvictionOrder(); err != nil || len(left) != 4 {
		t.Errorf("left: %v, %v", left, err)
	}
}

func TestInvalidatedImage(t *testing.T) {
	b := newFixture(t)
	image := b.mustCheckpoint(t)
	replayed := filepath.Join(t.TempDir(), "copy")
	must(t, os.CopyFS(replayed, os.DirFS(filepath.Join(b.dir, "Counter/image"))))
	must(t, image.InvalidateAndDelete())
	if _, err := b.imageDir.Image(); !errors.Is(err, hibernate.ErrNoImage) {
		t.Errorf("got %v, want %v", err, hibernate.ErrNoImage)
	}
	must(t, os.Rename(replayed, filepath.Join(b.dir, "Counter/image")))
	if _, err := b.imageDir.Image(); !errors.Is(err, hibernate.ErrRefused) {
		t.Errorf("a copy of it: %v, want %v", err, hibernate.ErrRefused)
	}
}
