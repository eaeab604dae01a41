package procfs

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Robust returns the futexes of the robust mutexes that the thread holds: the kernel
// marks them when it dies. See get_robust_list(2).
func RobustFutexes(tid int) (held []uint64) {
	var head, size uint64
	_, _, errno := unix.RawSyscall(unix.SYS_GET_ROBUST_LIST, uintptr(tid), uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 || head == 0 {
		return nil
	}
	var list [3]uint64 // the first entry, the futex's offset in each, and one that is about to come or go
	if !readMemory(tid, head, unsafe.Slice((*byte)(unsafe.Pointer(&list)), unsafe.Sizeof(list))) {
		return nil
	}
	entries := []uint64{list[2]}
	const limit = 2048 // the kernel's: a list may be a ring without its head
	word := make([]byte, 8)
	for next := list[0] &^ priorityInheritBit; next != head && len(entries) <= limit; next = binary.NativeEndian.Uint64(word) &^ priorityInheritBit {
		entries = append(entries, next)
		if !readMemory(tid, next, word) {
			break
		}
	}
	for _, entry := range entries {
		if entry &^= priorityInheritBit; entry != 0 && isHeldBy(tid, entry+list[1]) {
			held = append(held, entry+list[1])
		}
	}
	return held
}

// inherits is the bit of an entry whose mutex inherits priority.
const priorityInheritBit = 1

// heldBy tells whether the mutex is the thread's, which may also be waiting for it.
func isHeldBy(tid int, futex uint64) bool {
	const owner = 0x3fffffff // FUTEX_TID_MASK
	word := make([]byte, 4)
	return readMemory(tid, futex, word) && int(binary.NativeEndian.Uint32(word)&owner) == NSPid(tid)
}

// peek reads the thread's memory, if there is any.
func readMemory(tid int, at uint64, into []byte) bool {
	local := []unix.Iovec{{Base: &into[0]}}
	local[0].SetLen(len(into))
	n, err := unix.ProcessVMReadv(tid, local, []unix.RemoteIovec{{Base: uintptr(at), Len: len(into)}}, 0)
	return err == nil && n == len(into)
}
