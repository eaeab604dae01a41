package hibernate_test

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"dormouse/hibernate"
	"dormouse/hibernate/pack"
)

// receiveMemory returns the memory as another process receives it from m.
func receiveMemory(t *testing.T, m hibernate.Memory) hibernate.Memory {
	t.Helper()
	text, files, err := m.HandOver()
	must(t, err)
	copies := make([]*os.File, len(files))
	for i, f := range files {
		fd, err := syscall.Dup(int(f.Fd()))
		must(t, err)
		copies[i] = os.NewFile(uintptr(fd), "pages")
	}
	got, err := hibernate.ReceiveMemory(text, copies)
	must(t, err)
	return got
}

// Memory that was handed over is verified, and needs neither the image nor the process that
// handed it over.
func TestReceiveMemory(t *testing.T) {
	all := map[string]pack.Options{"as it is": {}}
	maps.Copy(all, packings)
	for name, packing := range all {
		t.Run(name, func(t *testing.T) {
			b, memory := newPackedFixture(t, packing)
			image := b.mustCheckpoint(t)
			lazy := &memoryKeeper{Fake: b.engine}
			root, loading, err := image.RestoreLazy(t.Context(), lazy, b.optionsWithoutCgroup())
			must(t, err)
			m := receiveMemory(t, lazy.memory)
			must(t, killAndWait(root))
			loading.Close()
			path := filepath.Join(b.dir, "Counter/image/pages-1.img")
			stored, err := os.ReadFile(path)
			must(t, err)
			stored[0] ^= 1
			must(t, os.WriteFile(path, stored, 0o600))
			must(t, image.Discard())
			buffer := make([]byte, hibernate.ChunkSize)
			if _, err := m.ReadVerifiedChunk("pages-1.img", 0, buffer); !errors.Is(err, hibernate.ErrRefused) {
				t.Errorf("a changed chunk: %v", err)
			}
			for _, index := range []int64{2, 1} {
				rest := memory[index*hibernate.ChunkSize:]
				got, err := m.ReadVerifiedChunk("pages-1.img", index, buffer)
				if err != nil || string(got) != rest[:min(len(rest), hibernate.ChunkSize)] {
					t.Errorf("chunk %d has %d bytes: %v", index, len(got), err)
				}
			}
			must(t, m.Close())
		})
	}
}

// ReceiveMemory fails if files are missing, and closes all others.
func TestReceiveMemoryLacksFiles(t *testing.T) {
	b := newFixture(t)
	image := b.mustCheckpoint(t)
	lazy := &memoryKeeper{Fake: b.engine}
	root, loading, err := image.RestoreLazy(t.Context(), lazy, b.optionsWithoutCgroup())
	must(t, err)
	defer func() {
		must(t, killAndWait(root))
		loading.Close()
	}()
	text, _, err := lazy.memory.HandOver()
	must(t, err)
	if m, err := hibernate.ReceiveMemory(text, nil); err == nil || m != nil {
		t.Errorf("got %v", m)
	}
	if m, err := hibernate.ReceiveMemory([]byte("{"), nil); err == nil || m != nil {
		t.Errorf("got %v", m)
	}
}
