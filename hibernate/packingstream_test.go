package hibernate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/hibernate/hibernatetest"
	"dormouse/internal/procfs"
)

// Memory of any size can be packed and restored, also if its last chunk is not full.
func TestPackedSizes(t *testing.T) {
	for name, packing := range packings {
		for _, size := range []int{0, 1, hibernate.ChunkSize - 1, hibernate.ChunkSize, 9*hibernate.ChunkSize + 1} {
			t.Run(fmt.Sprintf("%s %d", name, size), func(t *testing.T) {
				b, _ := newPackedFixture(t, packing)
				memory := strings.Repeat("?", size)
				b.engine.SetMemory(b.tree.PID(), memory)
				image := b.mustCheckpoint(t)
				b.mustWake(t, image)
				defer func() { must(t, killAndWait(b.tree.root)) }()
				if got := b.engine.Memory(b.tree.PID()); got != memory {
					t.Errorf("%d bytes woke as %d", size, len(got))
				}
			})
		}
	}
}

// tooLargeMemory returns memory that does not fit the disk of the test, packed or not.
func tooLargeMemory() string { return incompressible(16 * hibernate.ChunkSize) }

// If the disk is full while memory is packed the dump fails, and the tree runs on.
func TestDiskFullWhilePacking(t *testing.T) {
	for name, packing := range packings {
		t.Run(name, func(t *testing.T) {
			b, _ := newPackedFixture(t, packing)
			disk := t.TempDir()
			if err := unix.Mount("tmpfs", disk, "tmpfs", 0, "size=12m"); err != nil {
				hibernatetest.SkipOrFail(t, fmt.Errorf("cannot mount a small disk: %w", err))
			}
			defer func() { must(t, unix.Unmount(disk, 0)) }()
			b.dir, b.store = disk, openStore(t, disk)
			b.store.SetPacking(packing)
			b.imageDir = b.store.ImageDir("Counter")
			b.engine.SetMemory(b.tree.PID(), tooLargeMemory())
			_, err := hibernate.Checkpoint(t.Context(), b.engine, b.imageDir, b.tree)
			if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "pages-1.img") {
				t.Errorf("error %v, want %v of pages-1.img", err, syscall.ENOSPC)
			}
			if diff := cmp.Diff([]string{"quiesce", "revive"}, b.tree.asked); diff != "" {
				t.Error(diff)
			}
			if left := b.listFiles(t); len(left) > 0 || procfs.IsStopped(b.tree.PID()) {
				t.Errorf("left are %v, stopped is the tree: %v", left, procfs.IsStopped(b.tree.PID()))
			}
		})
	}
}

// endlessDumper is an engine whose dump writes memory until its time is over.
type endlessDumper struct {
	*hibernatetest.Fake
	begun func()
}

func (e endlessDumper) Dump(_ context.Context, d hibernate.DumpOrder) error {
	pages, err := d.Pages("pages-1.img")
	e.begun()
	for err == nil {
		_, err = pages.Write(make([]byte, hibernate.ChunkSize))
	}
	return err
}

// draftWatcher is an engine that notes how far its dump is ahead of the draft.
type draftWatcher struct {
	*hibernatetest.Fake
	written func() int64
	ahead   int64
}

func (e *draftWatcher) Dump(_ context.Context, d hibernate.DumpOrder) error {
	pages, err := d.Pages("pages-1.img")
	for n := int64(1); n <= 32 && err == nil; n++ {
		_, err = pages.Write(make([]byte, hibernate.ChunkSize))
		e.ahead = max(e.ahead, n*hibernate.ChunkSize-e.written())
	}
	return errors.Join(err, pages.Close(), hibernatetest.StopProcess(d.PID))
}

// A dump is never far ahead of the draft, however much memory there is.
func TestPackingKeepsUp(t *testing.T) {
	b, _ := newPackedFixture(t, packings["encrypted"])
	e := &draftWatcher{Fake: b.engine, written: b.imageDir.DraftBytes}
	_, err := hibernate.Checkpoint(t.Context(), e, b.imageDir, b.tree)
	must(t, err)
	if few := int64(8 * hibernate.ChunkSize); e.ahead > few {
		t.Errorf("%d bytes were under way, want no more than %d", e.ahead, few)
	}
}

// A dump does not wait to write memory when there is no time left.
func TestPackingGivenUp(t *testing.T) {
	b, _ := newPackedFixture(t, packings["encrypted"])
	ctx, cancel := context.WithCancel(t.Context())
	_, err := hibernate.Checkpoint(ctx, endlessDumper{b.engine, cancel}, b.imageDir, b.tree)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if left := b.listFiles(t); len(left) > 0 {
		t.Errorf("left are %v", left)
	}
}
