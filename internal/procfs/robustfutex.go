package procfs

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// HeldRobustFutexes returns the addresses of the futexes of the robust mutexes that the
// thread holds. If the thread dies, the kernel marks these mutexes as abandoned, see
// get_robust_list(2). It returns nil if this process may not read the thread's memory.
func HeldRobustFutexes(tid int) (held []uint64) {
	var head, size uint64
	_, _, errno := unix.RawSyscall(unix.SYS_GET_ROBUST_LIST, uintptr(tid), uintptr(unsafe.Pointer(&head)), uintptr(unsafe.Pointer(&size)))
	if errno != 0 || head == 0 {
		return nil
	}
	var list [3]uint64 // struct robust_list_head: first entry, offset of the futex in an entry, pending entry
	if !readMemory(tid, head, unsafe.Slice((*byte)(unsafe.Pointer(&list)), unsafe.Sizeof(list))) {
		return nil
	}
	entries := []uint64{list[2]}
	const limit = 2048 // ROBUST_LIST_LIMIT: a broken list may be a ring without its head
	word := make([]byte, 8)
	for next := list[0] &^ priorityInheritBit; next != head && len(entries) <= limit; next = binary.NativeEndian.Uint64(word) &^ priorityInheritBit {
		entries = append(entries, next)
		if !readMemory(tid, next, word) {
			break
		}
	}
	for _, entry := range entries {
		if entry &^= priorityInheritBit; entry != 0 && isFutexHeldBy(tid, entry+list[1]) {
			held = append(held, entry+list[1])
		}
	}
	return held
}

// priorityInheritBit is set in an entry of the robust list if the mutex of the entry passes
// the priority of waiting threads on to its owner.
const priorityInheritBit = 1

// isFutexHeldBy reports whether the thread owns the futex. A robust list may also have a
// futex that the thread only waits for.
func isFutexHeldBy(tid int, futex uint64) bool {
	const owner = 0x3fffffff // FUTEX_TID_MASK
	word := make([]byte, 4)
	return readMemory(tid, futex, word) && int(binary.NativeEndian.Uint32(word)&owner) == NSPid(tid)
}

// readMemory copies memory of the thread, from the address on, into the slice into, and
// reports whether it filled the whole slice.
func readMemory(tid int, address uint64, into []byte) (filled bool) {
	local := []unix.Iovec{{Base: &into[0]}}
	local[0].SetLen(len(into))
	n, err := unix.ProcessVMReadv(tid, local, []unix.RemoteIovec{{Base: uintptr(address), Len: len(into)}}, 0)
	return err == nil && n == len(into)
}
