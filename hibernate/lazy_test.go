package hibernate_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/hibernate"
	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/procfs"
)

// mustWakeLazily restores the tree lazily from the image.
func (b *fixture) mustWakeLazily(t *testing.T, image *hibernate.Image) hibernate.Loading {
	t.Helper()
	root, loading, err := image.RestoreLazy(t.Context(), b.engine, b.optionsWithoutCgroup())
	if err != nil {
		t.Fatal(err)
	}
	b.tree = &tree{root: root}
	t.Cleanup(func() {
		must(t, killAndWait(root))
		loading.Close()
	})
	return loading
}

// A lazy wake uses the image up, and its loading goes on after the image was discarded.
func TestLazyWakeUsesTheImageUp(t *testing.T) {
	b := newFixture(t)
	image := b.mustCheckpoint(t)
	loading := b.mustWakeLazily(t, image)
	if procfs.IsStopped(b.tree.PID()) || b.engine.Memory(b.tree.PID()) != "" {
		t.Errorf("stopped: %v, with the memory %q", procfs.IsStopped(b.tree.PID()), b.engine.Memory(b.tree.PID()))
	}
	if _, err := openStore(t, b.dir).ImageDir("Counter").Image(); !errors.Is(err, hibernate.ErrRefused) {
		t.Errorf("the image that is in use can be woken again: %v", err)
	}
	must(t, image.Discard())
	if diff := cmp.Diff([]string(nil), b.listFiles(t)); diff != "" {
		t.Error(diff)
	}
	loading.Hurry()
	<-loading.Done()
	if got := b.engine.Memory(b.tree.PID()); loading.Err() != nil || got != "memory of the plugin" {
		t.Errorf("loaded %q: %v", got, loading.Err())
	}
}

// A damaged chunk is refused when it is read, and does not get into the tree.
func TestLazyWakeVerifiesEachChunk(t *testing.T) {
	for name, spoil := range map[string]func([]byte) []byte{
		"changed": flipBit,
		"of old":  func([]byte) []byte { return []byte("what the plugin was") },
	} {
		t.Run(name, func(t *testing.T) {
			b := newFixture(t)
			image := b.mustCheckpoint(t)
			loading := b.mustWakeLazily(t, image)
			pages := filepath.Join(b.dir, "Counter/image/pages-1.img")
			text, err := os.ReadFile(pages)
			must(t, err)
			must(t, os.WriteFile(pages, spoil(text), 0o600))
			loading.Hurry()
			<-loading.Done()
			if err := loading.Err(); !errors.Is(err, hibernate.ErrRefused) || !strings.Contains(err.Error(), "pages-1.img is damaged") {
				t.Errorf("got %v", err)
			}
			if got := b.engine.Memory(b.tree.PID()); got != "" {
				t.Errorf("loaded %q", got)
			}
		})
	}
}

// A chunk is refused in the place of another chunk, and a file of another kind is not read as
// memory.
func TestChunksCannotBeExchanged(t *testing.T) {
	b := newFixture(t)
	first, second := strings.Repeat("a", hibernate.ChunkSize), strings.Repeat("b", hibernate.ChunkSize)
	b.engine.SetMemory(b.tree.PID(), first+second+"c")
	image := b.mustCheckpoint(t)
	lazy := &memoryKeeper{Fake: b.engine}
	root, loading, err := image.RestoreLazy(t.Context(), lazy, b.optionsWithoutCgroup())
	must(t, err)
	defer func() {
		must(t, killAndWait(root))
		loading.Close()
	}()
	buffer := make([]byte, hibernate.ChunkSize)
	for index, want := range []string{first, second, "c"} {
		got, err := lazy.memory.ReadVerifiedChunk("pages-1.img", int64(index), buffer)
		if err != nil || string(got) != want {
			t.Errorf("chunk %d has %d bytes: %v", index, len(got), err)
		}
	}
	for _, index := range []int64{-1, 3} {
		if _, err := lazy.memory.ReadVerifiedChunk("pages-1.img", index, buffer); err == nil {
			t.Errorf("there is a chunk %d", index)
		}
	}
	if _, err := lazy.memory.ReadVerifiedChunk("core-1.img", 0, buffer); !errors.Is(err, hibernate.ErrRefused) {
		t.Errorf("core-1.img is read as memory: %v", err)
	}
	must(t, os.WriteFile(filepath.Join(b.dir, "Counter/image/pages-1.img"), []byte(second+first+"c"), 0o600))
	for index := range int64(2) {
		if _, err := lazy.memory.ReadVerifiedChunk("pages-1.img", index, buffer); !errors.Is(err, hibernate.ErrRefused) {
			t.Errorf("chunk %d is taken for another: %v", index, err)
		}
	}
	if got, err := lazy.memory.ReadVerifiedChunk("pages-1.img", 2, buffer); err != nil || string(got) != "c" {
		t.Errorf("the chunk that is right has %d bytes: %v", len(got), err)
	}
}

// memoryKeeper is an engine that keeps the Memory that RestoreLazy gets.
type memoryKeeper struct {
	*hibernatetest.Fake
	memory hibernate.Memory
}

func (r *memoryKeeper) RestoreLazy(ctx context.Context, order hibernate.RestoreOrder, m hibernate.Memory) (*os.Process, hibernate.Loading, error) {
	r.memory = m
	return r.Fake.RestoreLazy(ctx, order, m)
}

func TestLazyWakeRefuses(t *testing.T) {
	b := newFixture(t)
	image := b.mustCheckpoint(t)
	b.engine.MoreRights = true
	root, _, err := image.RestoreLazy(t.Context(), b.engine, b.optionsWithoutCgroup())
	if !errors.Is(err, hibernate.ErrRefused) || root != nil {
		t.Errorf("got %v, %v", root, err)
	}
	b.engine.MoreRights = false
	must(t, os.WriteFile(filepath.Join(b.dir, "Counter/image/core-1.img"), []byte("ceor"), 0o600))
	before := b.engine.RestoreCount()
	_, _, err = image.RestoreLazy(t.Context(), b.engine, b.optionsWithoutCgroup())
	if !errors.Is(err, hibernate.ErrRefused) || b.engine.RestoreCount() != before {
		t.Errorf("got %v after %d attempts", err, b.engine.RestoreCount()-before)
	}
}
