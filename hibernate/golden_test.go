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

// preserve must succeed.
func (b *bench) preserve(t *testing.T) {
	t.Helper()
	if _, err := hibernate.MakeGolden(t.Context(), b.engine, b.imageDir, b.tree); err != nil {
		t.Fatal(err)
	}
}

// golden must be there.
func (b *bench) golden(t *testing.T) *hibernate.Image {
	t.Helper()
	image, err := b.imageDir.Golden()
	if err != nil {
		t.Fatal(err)
	}
	return image
}

var goldenFiles = []string{"Counter/golden/core-1.img", "Counter/golden/manifest", "Counter/golden/pages-1.img"}

func TestPreserveLetsTheTreeRunOn(t *testing.T) {
	b := newBench(t)
	b.preserve(t)
	if diff := cmp.Diff([]string{"quiesce", "revive"}, b.tree.asked); diff != "" {
		t.Error(diff)
	}
	if procfs.IsStopped(b.tree.PID()) {
		t.Error("the tree is stopped")
	}
	if diff := cmp.Diff(goldenFiles, b.files(t)); diff != "" {
		t.Error(diff)
	}
	if _, err := b.imageDir.Image(); !errors.Is(err, hibernate.ErrNoImage) {
		t.Errorf("the instance counts as hibernated: %v", err)
	}
}

// Each life that begins from it has a number of its own, which no image of before
// and none of after has.
func TestGoldenImageIsRestoredAgain(t *testing.T) {
	for name, packing := range map[string]pack.Options{
		"plain": {}, "packed": {Key: make([]byte, 32), Encrypt: true, Compress: true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.store.SetPacking(packing)
			b.preserve(t)
			for life := uint64(1); life <= 6; life += 2 {
				check(t, end(b.tree.root))
				image := b.golden(t)
				if image.Generation != life {
					t.Errorf("generation %d, want %d", image.Generation, life)
				}
				b.wake(t, image)
				if got := b.engine.Memory(b.tree.PID()); got != "memory of the plugin" {
					t.Errorf("it woke with %q", got)
				}
				b.engine.SetMemory(b.tree.PID(), "changed")
				ordinary := b.checkpoint(t)
				if ordinary.Generation != life+1 {
					t.Errorf("its own image has generation %d, want %d", ordinary.Generation, life+1)
				}
				b.wake(t, ordinary)
				if got := b.engine.Memory(b.tree.PID()); got != "changed" {
					t.Errorf("from its own image it woke with %q", got)
				}
				check(t, ordinary.Discard())
			}
			check(t, end(b.tree.root))
			check(t, b.imageDir.DiscardGolden())
			check(t, b.imageDir.DiscardGolden())
			if diff := cmp.Diff([]string{"Counter/generation"}, b.files(t)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestGoldenImageStaysWhileItIsLoaded(t *testing.T) {
	b := newBench(t)
	b.preserve(t)
	for range 2 {
		loading := b.wakeLazily(t, b.golden(t))
		if diff := cmp.Diff(append([]string{"Counter/generation"}, goldenFiles...), b.files(t)); diff != "" {
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
		damage func(b *bench) error
		want   string
	}{
		"changed pages":    {func(b *bench) error { return b.rewrite(golden+"pages-1.img", flip) }, "pages-1.img is damaged"},
		"changed manifest": {func(b *bench) error { return b.rewrite(golden+"manifest", flip) }, "manifest"},
		"no manifest":      {func(b *bench) error { return os.Remove(b.path(golden + "manifest")) }, "it has no manifest"},
		"missing file":     {func(b *bench) error { return os.Remove(b.path(golden + "core-1.img")) }, "core-1.img is missing"},
		"another instance's": {func(b *bench) error {
			b.imageDir = b.store.ImageDir("Other")
			return os.Rename(b.path("Counter"), b.path("Other"))
		}, "it belongs to Counter"},
		"an ordinary one": {func(b *bench) error {
			_, err := hibernate.Checkpoint(context.Background(), b.engine, b.imageDir, b.tree)
			return errors.Join(err, os.RemoveAll(b.path("Counter/golden")), os.Rename(b.path("Counter/image"), b.path("Counter/golden")))
		}, "it was written as the ordinary image"},
		"not encrypted": {func(b *bench) error {
			b.store.SetPacking(pack.Options{Key: make([]byte, 32), Encrypt: true})
			return nil
		}, "it is not encrypted"},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.preserve(t)
			check(t, test.damage(b))
			image, err := b.imageDir.Golden()
			if err == nil {
				_, err = image.Restore(t.Context(), b.engine, b.noCgroup())
			}
			if !errors.Is(err, hibernate.ErrRefused) || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %v with %q", err, hibernate.ErrRefused, test.want)
			}
		})
	}
}

// What may be restored again must not get into the place of what may not.
func TestGoldenImageIsNoOrdinaryOne(t *testing.T) {
	b := newBench(t)
	b.preserve(t)
	check(t, os.Rename(b.path("Counter/golden"), b.path("Counter/image")))
	_, err := b.imageDir.Image()
	if !errors.Is(err, hibernate.ErrRefused) || !strings.Contains(err.Error(), "it was written as the golden image") {
		t.Errorf("got %v, want %v", err, hibernate.ErrRefused)
	}
}

func TestPreserveFails(t *testing.T) {
	broken := errors.New("broken")
	for name, test := range map[string]struct {
		spoil func(b *bench)
		asked []string
	}{
		"an obstacle": {func(b *bench) { b.engine.AnyTimeObstacle = broken }, nil},
		"no quiet":    {func(b *bench) { b.tree.quiesceErr = broken }, []string{"quiesce", "revive"}},
		"no dump":     {func(b *bench) { b.engine.DumpError = broken }, []string{"quiesce", "revive"}},
		"no revival":  {func(b *bench) { b.tree.reviveErr = broken }, []string{"quiesce", "revive"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			test.spoil(b)
			if _, err := hibernate.MakeGolden(t.Context(), b.engine, b.imageDir, b.tree); !errors.Is(err, broken) {
				t.Errorf("got %v", err)
			}
			if diff := cmp.Diff(test.asked, b.tree.asked); diff != "" {
				t.Error(diff)
			}
			if left := b.files(t); len(left) > 0 {
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
	b := newBench(t)
	var yielded []string
	limits := hibernate.Limits{Budget: 60 << 20, GoldenEvicted: func(golden hibernate.StoredImage, why error) {
		if !errors.Is(why, hibernate.ErrBudget) {
			t.Errorf("%s goes for %v", golden, why)
		}
		yielded = append(yielded, golden.String())
	}}
	b.store.SetLimits(limits)
	b.lay(t, "Old/image", big, 2*time.Hour)
	b.lay(t, "Gold/golden", 17<<20, time.Hour)
	if _, err := hibernate.MakeGolden(t.Context(), b.engine, b.imageDir, b.tree); !errors.Is(err, hibernate.ErrBudget) || len(b.tree.asked) != 0 {
		t.Errorf("got %v, the tree was asked to %v", err, b.tree.asked)
	}
	b.checkpoint(t)
	if diff := cmp.Diff([]string{"Gold 17 MiB (golden)"}, yielded); diff != "" {
		t.Error(diff)
	}
	_, err := b.store.ImageDir("Gold").Golden()
	if !errors.Is(err, hibernate.ErrNoImage) || !strings.Contains(err.Error(), "make room") {
		t.Errorf("got %v", err)
	}
}

func TestGoldenImagesMakeSpace(t *testing.T) {
	b := newBench(t)
	b.lay(t, "Gold/golden", big, 0)
	b.store.SetLimits(hibernate.Limits{Reserve: 1 << 60})
	check(t, hibernate.Preflight(b.engine, b.imageDir, b.tree.PID()))
	if _, err := hibernate.Checkpoint(t.Context(), b.engine, b.imageDir, b.tree); !errors.Is(err, hibernate.ErrSpace) {
		t.Errorf("got %v", err)
	}
	if _, err := b.store.ImageDir("Gold").Golden(); !errors.Is(err, hibernate.ErrNoImage) {
		t.Errorf("got %v", err)
	}
}

func TestSweepOfGoldenImages(t *testing.T) {
	b := newBench(t)
	b.preserve(t)
	b.lay(t, "Lost/golden", 1, 0)
	swept, err := b.store.Sweep(time.Hour, func(callsign string) bool { return callsign == "Counter" })
	check(t, err)
	if len(swept.Removed) != 1 || swept.Removed[0].Callsign != "Lost" || len(swept.Kept) > 0 {
		t.Errorf("swept %+v", swept)
	}
	b.golden(t)
}
