package procfs

import (
	"errors"
	"os"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

func TestDroppable(t *testing.T) {
	memory, err := unix.Mmap(-1, 0, 2*os.Getpagesize(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_DROPPABLE|unix.MAP_ANONYMOUS)
	if errors.Is(err, unix.EINVAL) {
		t.Skip("the kernel has no droppable memory")
	}
	if err != nil {
		t.Fatal(err)
	}
	copy(memory, "random")
	self := []int{os.Getpid()}
	spans, err := DroppableMemory(self)
	if err != nil {
		t.Fatal(err)
	}
	size := uint64(len(memory))
	ours := slices.IndexFunc(spans, func(s MemorySpan) bool { return s.ID == NSPid(self[0]) && s.End-s.Start == size })
	if ours < 0 {
		t.Fatalf("droppable are %+v", spans)
	}
	if err := ZeroMemory(self, spans[ours:ours+1]); err != nil {
		t.Fatal(err)
	}
	if got := string(memory[:6]); got != "\x00\x00\x00\x00\x00\x00" {
		t.Errorf("it still holds %q", got)
	}
	if err := ZeroMemory(self, []MemorySpan{{ID: 1 << 30}}); err == nil {
		t.Error("it dropped the memory of a process that there is not")
	}
	if err := unix.Munmap(memory); err != nil {
		t.Error(err)
	}
}
