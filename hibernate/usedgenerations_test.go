package hibernate_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"dormouse/hibernate"
)

// reopen opens the store of the fixture once more, as the next host does.
func (b *fixture) reopen(t *testing.T) {
	t.Helper()
	b.store.Close()
	b.store = openStore(t, b.dir)
	b.imageDir = b.store.ImageDir("Counter")
}

// copyInstance copies the instance's whole directory, and returns the function that puts the
// copy back in its place.
func (b *fixture) copyInstance(t *testing.T) (putBack func()) {
	t.Helper()
	at, saved := filepath.Join(b.dir, "Counter"), filepath.Join(t.TempDir(), "saved")
	must(t, os.CopyFS(saved, os.DirFS(at)))
	return func() {
		t.Helper()
		b.store.Close()
		must(t, os.RemoveAll(at))
		must(t, os.CopyFS(at, os.DirFS(saved)))
	}
}

// startAgain gives the fixture the tree of a cold start.
func (b *fixture) startAgain(t *testing.T) {
	t.Helper()
	b.tree = &tree{root: b.engine.StartProcess(t, "a new life")}
}

// wantRefused fails the test if the next host would wake the instance's image.
func (b *fixture) wantRefused(t *testing.T) {
	t.Helper()
	b.reopen(t)
	if _, err := b.imageDir.Image(); !errors.Is(err, hibernate.ErrRefused) {
		t.Errorf("the image is read with error %v, want %v", err, hibernate.ErrRefused)
	}
}

// An image that is copied back with all that lies beside it stays used.
func TestCopiedInstanceStaysUsed(t *testing.T) {
	b := newFixture(t)
	image := b.mustCheckpoint(t)
	putBack := b.copyInstance(t)
	b.mustWake(t, image)
	must(t, killAndWait(b.tree.root))
	putBack()
	b.wantRefused(t)
}

// An image that was put aside can be woken once, when it is put back, whatever has slept
// meanwhile, and no copy of it after that.
func TestPutBack(t *testing.T) {
	b := newFixture(t)
	b.mustCheckpoint(t)
	kept, err := b.imageDir.PutAside()
	must(t, err)
	if left := time.Until(kept.Until); left < hibernate.KeepFor-time.Minute || left > hibernate.KeepFor {
		t.Errorf("it is kept for %s", left)
	}
	if _, err := b.imageDir.Image(); !errors.Is(err, hibernate.ErrNoImage) {
		t.Errorf("got %v, want %v", err, hibernate.ErrNoImage)
	}
	b.startAgain(t)
	second := b.mustCheckpoint(t)
	if second.Generation != 2 {
		t.Errorf("the next sleep has generation %d", second.Generation)
	}
	if err := b.imageDir.PutBack(1); err == nil {
		t.Error("an image was put back in the place of another")
	}
	b.mustWake(t, second)
	must(t, errors.Join(killAndWait(b.tree.root), second.Discard()))
	b.reopen(t)

	must(t, b.imageDir.PutBack(1))
	putBack := b.copyInstance(t)
	b.reopen(t)
	first, err := b.imageDir.Image()
	must(t, err)
	b.mustWake(t, first)
	if got := b.engine.Memory(b.tree.PID()); got != "memory of the plugin" {
		t.Errorf("it woke with %q", got)
	}
	must(t, killAndWait(b.tree.root))
	putBack()
	b.wantRefused(t)
	if err := b.imageDir.PutBack(1); !errors.Is(err, hibernate.ErrNoImage) {
		t.Errorf("got %v, want %v", err, hibernate.ErrNoImage)
	}
	b.startAgain(t)
	must(t, os.RemoveAll(b.path("Counter/image")))
	if third := b.mustCheckpoint(t); third.Generation != 3 {
		t.Errorf("the last sleep has generation %d", third.Generation)
	}
}

// When its time is over an image that was put aside is gone, and no copy of it can be woken.
func TestAsideEnds(t *testing.T) {
	b := newFixture(t)
	b.mustCheckpoint(t)
	kept, err := b.imageDir.PutAside()
	must(t, err)
	saved := filepath.Join(t.TempDir(), "saved")
	must(t, os.CopyFS(saved, os.DirFS(kept.Path)))
	now := hibernate.CurrentMoment()
	now.Uptime += hibernate.KeepFor
	swept, err := b.store.Sweep(hibernate.Sweeping{
		KeepFor: hibernate.KeepFor, Now: now,
		IsKnown: func(string) bool { return true }, IsMissing: func(string) bool { return false },
	})
	must(t, err)
	if len(swept.Removed) != 1 || swept.Removed[0].Aside != 1 {
		t.Errorf("removed %v", swept.Removed)
	}
	b.reopen(t)
	must(t, os.CopyFS(b.path("Counter/image"), os.DirFS(saved)))
	b.wantRefused(t)
}

// Two images that were put aside do not replace each other.
func TestPutAsideTwice(t *testing.T) {
	b := newFixture(t)
	for want := uint64(1); want <= 2; want++ {
		if image := b.mustCheckpoint(t); image.Generation != want {
			t.Errorf("generation %d, want %d", image.Generation, want)
		}
		_, err := b.imageDir.PutAside()
		must(t, err)
		b.startAgain(t)
	}
	for generation := uint64(1); generation <= 2; generation++ {
		image, err := b.imageDir.Aside(generation)
		must(t, err)
		if image.Generation != generation {
			t.Errorf("there is generation %d, want %d", image.Generation, generation)
		}
	}
}

// An instance that is gone for good leaves nothing, and a later one of that name, or of any
// other, has none of its generations.
func TestGenerationsOfTheGone(t *testing.T) {
	b := newFixture(t)
	image := b.mustCheckpoint(t)
	b.mustWake(t, image)
	must(t, image.Discard())
	b.mustCheckpoint(t)
	saved := filepath.Join(t.TempDir(), "saved")
	must(t, os.CopyFS(saved, os.DirFS(b.path("Counter/image"))))
	must(t, b.imageDir.RemoveAll())
	if _, err := os.Stat(b.path(".used/of-Counter")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the record of its generations is left: %v", err)
	}
	must(t, os.CopyFS(b.path("Counter/image"), os.DirFS(saved)))
	b.wantRefused(t)
	must(t, os.RemoveAll(b.path("Counter/image")))
	b.startAgain(t)
	if image := b.mustCheckpoint(t); image.Generation != 3 {
		t.Errorf("the next one begins with generation %d", image.Generation)
	}
	must(t, os.RemoveAll(b.path("Counter/image")))
	must(t, os.CopyFS(b.path("Counter/image"), os.DirFS(saved)))
	b.wantRefused(t)
}

// What an earlier host kept in the directory of the instance is taken over, once.
func TestTakesOverOldGenerations(t *testing.T) {
	b := newFixture(t)
	first := b.mustCheckpoint(t)
	b.mustWake(t, first)
	must(t, first.Discard())
	image := b.mustCheckpoint(t)
	b.store.Close()
	must(t, os.RemoveAll(b.path(".used")))
	sealed := sealedNumber(t, b.path(".key"), image.Generation-1)
	must(t, os.WriteFile(b.path("Counter/generation"), sealed, 0o600))
	b.reopen(t)
	taken, err := b.imageDir.Image()
	must(t, err)
	if _, err := os.Stat(b.path("Counter/generation")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old file is left: %v", err)
	}
	putBack := b.copyInstance(t)
	b.mustWake(t, taken)
	must(t, killAndWait(b.tree.root))
	putBack()
	must(t, os.WriteFile(b.path("Counter/generation"), sealed, 0o600)) // it means nothing any more
	b.wantRefused(t)
}

// sealedNumber returns the number as a host seals it with the key in that file.
func sealedNumber(t *testing.T, keyFile string, number uint64) []byte {
	t.Helper()
	key, err := os.ReadFile(keyFile)
	must(t, err)
	text, err := json.Marshal(number)
	must(t, err)
	mac := hmac.New(sha256.New, key)
	_, _ = mac.Write(text)
	whole, err := json.Marshal(map[string]any{"manifest": json.RawMessage(text), "hmac": mac.Sum(nil)})
	must(t, err)
	return whole
}
