package hibernate_test

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dormouse/hibernate"
	"dormouse/hibernate/hibernatetest"
	"dormouse/hibernate/pack"
	"dormouse/internal/procfs"
)

var (
	keyA = bytes.Repeat([]byte{1}, 32)
	keyB = bytes.Repeat([]byte{2}, 32)
)

// packings are all ways to pack an image.
var packings = map[string]pack.Options{
	"encrypted":                {Key: keyA, Encrypt: true},
	"compressed":               {Compress: true},
	"compressed and encrypted": {Key: keyA, Encrypt: true, Compress: true},
}

// newPackedFixture returns a fixture whose tree has memory of several chunks, and that memory.
// One of the chunks can't be compressed.
func newPackedFixture(t *testing.T, p pack.Options) (b *fixture, memory string) {
	t.Helper()
	if os.Geteuid() != 0 {
		hibernatetest.SkipOrFail(t, errors.New("a private tmpfs needs root"))
	}
	b = newFixture(t)
	b.store.SetPacking(p)
	memory = strings.Repeat("secret! ", hibernate.ChunkSize/8) + incompressible(hibernate.ChunkSize) + "tail"
	b.engine.SetMemory(b.tree.PID(), memory)
	return b, memory
}

// incompressible returns a text of that size that can't be compressed.
func incompressible(size int) string {
	text := make([]byte, size)
	_, _ = rand.NewChaCha8([32]byte{}).Read(text)
	return string(text)
}

func TestPackedImages(t *testing.T) {
	for name, packing := range packings {
		t.Run(name, func(t *testing.T) {
			b, memory := newPackedFixture(t, packing)
			image := b.mustCheckpoint(t)
			if want := int64(len(memory) + len("core")); image.Bytes != want {
				t.Errorf("it holds %d bytes, not %d", image.Bytes, want)
			}
			pages, err := os.ReadFile(filepath.Join(b.dir, "Counter/image/pages-1.img"))
			must(t, err)
			if small := len(pages) < len(memory); small != packing.Compress {
				t.Errorf("%d bytes are stored in %d", len(memory), len(pages))
			}
			for _, root := range []string{b.dir} {
				must(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
					if err != nil || d.IsDir() || !packing.Encrypt {
						return err
					}
					text, err := os.ReadFile(path)
					if bytes.Contains(text, []byte("secret!")) || string(text) == "core" {
						t.Errorf("%s can be read", path)
					}
					return err
				}))
			}
			b.mustWake(t, image)
			defer func() { _ = killAndWait(b.tree.root) }()
			if b.engine.Memory(b.tree.PID()) != memory {
				t.Error("it woke with other memory")
			}
			must(t, image.Discard())
			b.mustCheckpoint(t)
		})
	}
}

// Each chunk can be read alone, and is refused if it was changed or moved.
func TestPackedChunks(t *testing.T) {
	for name, packing := range packings {
		t.Run(name, func(t *testing.T) {
			b, memory := newPackedFixture(t, packing)
			image := b.mustCheckpoint(t)
			lazy := &memoryKeeper{Fake: b.engine}
			root, loading, err := image.RestoreLazy(t.Context(), lazy, b.optionsWithoutCgroup())
			must(t, err)
			defer func() {
				must(t, killAndWait(root))
				loading.Close()
			}()
			buffer := make([]byte, hibernate.ChunkSize)
			path := filepath.Join(b.dir, "Counter/image/pages-1.img")
			stored, err := os.ReadFile(path)
			must(t, err)
			for _, index := range []int64{2, 0, 1} {
				rest := memory[index*hibernate.ChunkSize:]
				got, err := lazy.memory.ReadVerifiedChunk("pages-1.img", index, buffer)
				if err != nil || string(got) != rest[:min(len(rest), hibernate.ChunkSize)] {
					t.Errorf("chunk %d has %d bytes: %v", index, len(got), err)
				}
			}
			for _, index := range []int64{-1, 3} {
				if _, err := lazy.memory.ReadVerifiedChunk("pages-1.img", index, buffer); !errors.Is(err, hibernate.ErrRefused) {
					t.Errorf("there is a chunk %d: %v", index, err)
				}
			}
			stored[0] ^= 1
			must(t, os.WriteFile(path, stored, 0o600))
			if _, err := lazy.memory.ReadVerifiedChunk("pages-1.img", 0, buffer); !errors.Is(err, hibernate.ErrRefused) {
				t.Errorf("a changed chunk: %v", err)
			}
			must(t, os.Truncate(path, int64(len(stored)-1)))
			if _, err := lazy.memory.ReadVerifiedChunk("pages-1.img", 2, buffer); !errors.Is(err, hibernate.ErrRefused) {
				t.Errorf("a shortened chunk: %v", err)
			}
			if _, err := lazy.memory.ReadVerifiedChunk("pages-1.img", 1, buffer); err != nil {
				t.Errorf("a chunk that is right: %v", err)
			}
		})
	}
}

// A packed image that was changed on disk does not run, and an engine never sees the files
// that it would interpret.
func TestPackedImageDamaged(t *testing.T) {
	for name, packing := range packings {
		for _, file := range []string{"core-1.img", "pages-1.img"} {
			t.Run(name+" "+file, func(t *testing.T) {
				b, _ := newPackedFixture(t, packing)
				image := b.mustCheckpoint(t)
				path := filepath.Join(b.dir, "Counter/image", file)
				text, err := os.ReadFile(path)
				must(t, err)
				text[len(text)-1] ^= 0x80
				must(t, os.WriteFile(path, text, 0o600))
				if _, err := image.Restore(t.Context(), b.engine, b.optionsWithoutCgroup()); !errors.Is(err, hibernate.ErrRefused) {
					t.Errorf("got %v, want %v", err, hibernate.ErrRefused)
				}
				if asked := b.engine.RestoreCount() > 0; asked && file == "core-1.img" {
					t.Error("the engine was asked to restore it")
				}
				if left := procfs.Children(os.Getpid()); len(left) > 0 {
					t.Errorf("processes %v are left", left)
				}
			})
		}
	}
}

// An image whose key is missing is kept, and can be woken once the host has the key.
func TestWrongKeyLocksAnImage(t *testing.T) {
	b, memory := newPackedFixture(t, packings["encrypted"])
	b.mustCheckpoint(t)
	for name, packing := range map[string]pack.Options{"none": {}, "another": {Key: keyB, Encrypt: true}} {
		store := openStore(t, b.dir)
		store.SetPacking(packing)
		image, err := store.ImageDir("Counter").Image()
		must(t, err)
		if err := image.CheckHostHasKey(); !errors.Is(err, hibernate.ErrKey) {
			t.Errorf("key %s: %v, want %v", name, err, hibernate.ErrKey)
		}
		_, err = image.Restore(t.Context(), b.engine, b.optionsWithoutCgroup())
		if !errors.Is(err, hibernate.ErrKey) || errors.Is(err, hibernate.ErrRefused) || b.engine.RestoreCount() != 0 {
			t.Errorf("key %s: woken with %v", name, err)
		}
	}
	store := openStore(t, b.dir)
	store.SetPacking(pack.Options{Key: keyA}) // later images would not be encrypted
	image, err := store.ImageDir("Counter").Image()
	must(t, err)
	must(t, image.CheckHostHasKey())
	b.mustWake(t, image)
	defer func() { _ = killAndWait(b.tree.root) }()
	if b.engine.Memory(b.tree.PID()) != memory {
		t.Error("it woke with other memory")
	}
}
