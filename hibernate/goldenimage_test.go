package hibernate_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/hibernate"
	"dormouse/hibernate/pack"
	"dormouse/internal/procfs"
)

// mustMakeGolden makes a golden image of the tree.
func (b *fixture) mustMakeGolden(t *testing.T) {
	t.Helper()
	if _, err := hibernate.MakeGolden(t.Context(), b.engine, b.imageDir, b.tree); err != nil {
		t.Fatal(err)
	}
}

// mustFindGolden returns the golden image of the instance.
func (b *fixture) mustFindGolden(t *testing.T) *hibernate.Image {
	t.Helper()
	image, err := b.imageDir.Golden()
	if err != nil {
		t.Fatal(err)
	}
	return image
}

var goldenFiles = []string{"Counter/golden/core-1.img", "Counter/golden/manifest", "Counter/golden/pages-1.img"}

func TestMakeGoldenLetsTheTreeRunOn(t *testing.T) {
	b := newFixture(t)
	b.mustMakeGolden(t)
	if diff := cmp.Diff([]string{"quiesce", "revive"}, b.tree.asked); diff != "" {
		t.Error(diff)
	}
	if procfs.IsStopped(b.tree.PID()) {
		t.Error("the tree is stopped")
	}
	if diff := cmp.Diff(goldenFiles, b.listFiles(t)); diff != "" {
		t.Error(diff)
	}
	if _, err := b.imageDir.Image(); !errors.Is(err, hibernate.ErrNoImage) {
		t.Errorf("the instance counts as hibernated: %v", err)
	}
}

// Each restore of a golden image uses up a generation of its own, which no earlier or later
// image has.
func TestGoldenImageIsRestoredAgain(t *testing.T) {
	for name, packing := range map[string]pack.Options{
		"plain": {}, "packed": {Key: make([]byte, 32), Encrypt: true, Compress: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t)
			b.store.SetPacking(packing)
			b.mustMakeGolden(t)
			for life := uint64(1); life <= 6; life += 2 {
				must(t, killAndWait(b.tree.root))
				image := b.mustFindGolden(t)
				if image.Generation != life {
					t.Errorf("generation %d, want %d", image.Generation, life)
				}
				b.mustWake(t, image)
				if got := b.engine.Memory(b.tree.PID()); got != "memory of the plugin" {
					t.Errorf("it woke with %q", got)
				}
				b.engine.SetMemory(b.tree.PID(), "changed")
				ordinary := b.mustCheckpoint(t)
				if ordinary.Generation != life+1 {
					t.Errorf("its own image has generation %d, want %d", ordinary.Generation, life+1)
				}
				b.mustWake(t, ordinary)
				if got := b.engine.Memory(b.tree.PID()); got != "changed" {
					t.Errorf("from its own image it woke with %q", got)
				}
				must(t, ordinary.Discard())
			}
			must(t, killAndWait(b.tree.root))
			must(t, b.imageDir.DiscardGolden())
			must(t, b.imageDir.DiscardGolden())
			if diff := cmp.Diff([]string(nil), b.listFiles(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestGoldenImageStaysWhileItIsLoaded(t *testing.T) {
	b := newFixture(t)
	b.mustMakeGolden(t)
	for range 2 {
		loading := b.mustWakeLazily(t, b.mustFindGolden(t))
		if diff := cmp.Diff(goldenFiles, b.listFiles(t)); diff != "" {
			t.Error(diff)
		}
		loading.Hurry()
		<-loading.Done()
		if got := b.engine.Memory(b.tree.PID()); loading.Err() != nil || got != "memory of the plugin" {
			t.Errorf("loaded %q: %v", got, loading.Err())
		}
	}
}

func TestGoldenImageIsRefused(t *testing.T) {
	const golden = "Counter/golden/"
	for name, test := range map[string]struct {
		damage func(b *fixture) error
		want   string
	}{
		"changed pages":    {func(b *fixture) error { return b.changeFile(golden+"pages-1.img", flipBit) }, "pages-1.img is damaged"},
		"changed manifest": {func(b *fixture) error { return b.changeFile(golden+"manifest", flipBit) }, "manifest"},
		"no manifest":      {func(b *fixture) error { return os.Remove(b.path(golden + "manifest")) }, "it has no manifest"},
		"missing file":     {func(b *fixture) error { return os.Remove(b.path(golden + "core-1.img")) }, "core-1.img is missing"},
		"another instance's": {func(b *fixture) error {
			b.imageDir = b.store.ImageDir("Other")
			return os.Rename(b.path("Counter"), b.path("Other"))
		}, "it belongs to Counter"},
		"an ordinary one": {func(b *fixture) error {
			_, err := hibernate.Checkpoint(context.Background(), b.engine, b.imageDir, b.tree)
			return errors.Join(err, os.RemoveAll(b.path("Counter/golden")), os.Rename(b.path("Counter/image"), b.path("Counter/golden")))
		}, "it was written as the ordinary image"},
		"not encrypted": {func(b *fixture) error {
			b.store.SetPacking(pack.Options{Key: make([]byte, 32), Encrypt: true})
			return nil
		}, "it is not encrypted"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t)
			b.mustMakeGolden(t)
			must(t, test.damage(b))
			image, err := b.imageDir.Golden()
			if err == nil {
				_, err = image.Restore(t.Context(), b.engine, b.optionsWithoutCgroup())
			}
			if !errors.Is(err, hibernate.ErrRefused) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %v with %q", err, hibernate.ErrRefused, test.want)
			}
		})
	}
}

// A golden image must not pass for an ordinary image, which may be restored only once.
func TestGoldenImageIsNoOrdinaryOne(t *testing.T) {
	b := newFixture(t)
	b.mustMakeGolden(t)
	must(t, os.Rename(b.path("Counter/golden"), b.path("Counter/image")))
	_, err := b.imageDir.Image()
	if !errors.Is(err, hibernate.ErrRefused) || !strings.Contains(err.Error(), "it was written as the golden image") {
		t.Errorf("got %v, want %v", err, hibernate.ErrRefused)
	}
}

func TestMakeGoldenFails(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		spoil func(b *fixture)
		asked []string
	}{
		"an obstacle": {func(b *fixture) { b.engine.AnyTimeObstacle = broken }, nil},
		"no quiet":    {func(b *fixture) { b.tree.quiesceErr = broken }, []string{"quiesce", "revive"}},
		"no dump":     {func(b *fixture) { b.engine.DumpError = broken }, []string{"quiesce", "revive"}},
		"no revival":  {func(b *fixture) { b.tree.reviveErr = broken }, []string{"quiesce", "revive"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t)
			test.spoil(b)
			if _, err := hibernate.MakeGolden(t.Context(), b.engine, b.imageDir, b.tree); !errors.Is(err, broken) {
				t.Errorf("got %v", err)
			}
			if diff := cmp.Diff(test.asked, b.tree.asked); diff != "" {
				t.Error(diff)
			}
			if left := b.listFiles(t); len(left) > 0 {
				t.Errorf("left are %v", left)
			}
			if procfs.IsStopped(b.tree.PID()) {
				t.Error("the tree is stopped")
			}
		})
	}
}

// Golden images are evicted first, whatever on-budget says, and evict no other image.
func TestGoldenImagesMakeRoom(t *testing.T) {
	b := newFixture(t)
	var yielded []string
	limits := hibernate.Limits{Budget: 60 << 20, GoldenEvicted: func(golden hibernate.StoredImage, why error) {
		if !errors.Is(why, hibernate.ErrBudget) {
			t.Errorf("%s goes for %v", golden, why)
		}
		yielded = append(yielded, golden.String())
	}}
	b.store.SetLimits(limits)
	b.writeImage(t, "Old/image", bigSize, 2*time.Hour)
	b.writeImage(t, "Gold/golden", 17<<20, time.Hour)
	if _, err := hibernate.MakeGolden(t.Context(), b.engine, b.imageDir, b.tree); !errors.Is(err, hibernate.ErrBudget) || len(b.tree.asked) != 0 {
		t.Errorf("got %v, the tree was asked to %v", err, b.tree.asked)
	}
	b.mustCheckpoint(t)
	if diff := cmp.Diff([]string{"Gold 17 MiB (golden)"}, yielded); diff != "" {
		t.Error(diff)
	}
	_, err := b.store.ImageDir("Gold").Golden()
	if !errors.Is(err, hibernate.ErrNoImage) || !strings.Contains(err.Error(), "make room") {
		t.Errorf("got %v", err)
	}
}

func TestGoldenImagesMakeSpace(t *testing.T) {
	b := newFixture(t)
	b.writeImage(t, "Gold/golden", bigSize, 0)
	b.store.SetLimits(hibernate.Limits{Reserve: 1 << 60})
	must(t, hibernate.PreflightCheckpoint(b.engine, b.imageDir, b.tree.PID()))
	if _, err := hibernate.Checkpoint(t.Context(), b.engine, b.imageDir, b.tree); !errors.Is(err, hibernate.ErrSpace) {
		t.Errorf("got %v", err)
	}
	if _, err := b.store.ImageDir("Gold").Golden(); !errors.Is(err, hibernate.ErrNoImage) {
		t.Errorf("got %v", err)
	}
}
