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

// received is m as another process has it.
func received(t *testing.T, m hibernate.Memory) hibernate.Memory {
	t.Helper()
	text, files, err := m.HandOver()
	check(t, err)
	copies := make([]*os.File, len(files))
	for i, f := range files {
		fd, err := syscall.Dup(int(f.Fd()))
		check(t, err)
		copies[i] = os.NewFile(uintptr(fd), "pages")
	}
	got, err := hibernate.ReceiveMemory(text, copies)
	check(t, err)
	return got
}

// Memory that was handed over is verified as ever, and needs neither the image nor the
// process that had it before.
func TestHandedOverMemory(t *testing.T) {
	all := map[string]pack.Options{"as it is": {}}
	maps.Copy(all, packings)
	for name, packing := range all {
		t.Run(name, func(t *testing.T) {
			b, memory := newPackedBench(t, packing)
			image := b.checkpoint(t)
			lazy := &reader{Fake: b.engine}
			root, loading, err := image.RestoreLazy(t.Context(), lazy, b.noCgroup())
			check(t, err)
			m := received(t, lazy.memory)
			check(t, end(root))
			loading.Close()
			path := filepath.Join(b.dir, "Counter/image/pages-1.img")
			stored, err := os.ReadFile(path)
			check(t, err)
			stored[0] ^= 1
			check(t, os.WriteFile(path, stored, 0o600))
			check(t, image.Discard())
			buffer := make([]byte, hibernate.ChunkSize)
			if _, err := m.ReadChunk("pages-1.img", 0, buffer); !errors.Is(err, hibernate.ErrRefused) {
				t.Errorf("a changed chunk: %v", err)
			}
			for _, index := range []int64{2, 1} {
				rest := memory[index*hibernate.ChunkSize:]
				got, err := m.ReadChunk("pages-1.img", index, buffer)
				if err != nil || string(got) != rest[:min(len(rest), hibernate.ChunkSize)] {
					t.Errorf("chunk %d has %d bytes: %v", index, len(got), err)
				}
			}
			check(t, m.Close())
		})
	}
}

// A memory without its files is none, and leaves none open.
func TestHandedOverMemoryLacksFiles(t *testing.T) {
	b := newBench(t)
	image := b.checkpoint(t)
	lazy := &reader{Fake: b.engine}
	root, loading, err := image.RestoreLazy(t.Context(), lazy, b.noCgroup())
	check(t, err)
	defer func() {
		check(t, end(root))
		loading.Close()
	}()
	text, _, err := lazy.memory.HandOver()
	check(t, err)
	if m, err := hibernate.ReceiveMemory(text, nil); err == nil || m != nil {
		t.Errorf("got %v", m)
	}
	if m, err := hibernate.ReceiveMemory([]byte("{"), nil); err == nil || m != nil {
		t.Errorf("got %v", m)
	}
}
