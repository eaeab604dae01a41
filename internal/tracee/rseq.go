package tracee

import (
	"bytes"
	"unsafe"

	"golang.org/x/sys/unix"
)

// rseqPointer is the pointer by which a thread tells the kernel which restartable
// sequence, see rseq(2), it is in. The kernel clears the pointer when it finds the
// thread outside of that sequence, as after a jump to the vDSO.
type rseqPointer struct {
	address uintptr
	value   []byte
}

// readRseqPointer returns the pointer and its value, empty if the thread does not use
// restartable sequences.
func (t *thread) readRseqPointer() (p rseqPointer, err error) {
	var area struct {
		address                       uint64
		size, signature, flags, spare uint32
	}
	if err := t.ptrace(unix.PTRACE_GET_RSEQ_CONFIGURATION, unsafe.Sizeof(area), unsafe.Pointer(&area)); err != nil || area.address == 0 {
		return p, nil //nolint:nilerr // this kernel, or this thread, has no restartable sequences
	}
	const offset = 8 // of rseq_cs
	p.address, p.value = uintptr(area.address)+offset, make([]byte, 8)
	_, err = unix.PtracePeekData(t.tid, p.address, p.value)
	return p, err
}

// restoreRseqPointer writes the pointer that readRseqPointer returned back to the thread,
// unless it was empty.
func (t *thread) restoreRseqPointer(p rseqPointer) error {
	if len(bytes.Trim(p.value, "\x00")) == 0 {
		return nil
	}
	_, err := unix.PtracePokeData(t.tid, p.address, p.value)
	return err
}
