package tracee

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// gate returns the address of an instruction in the vDSO of the thread's process
// that enters the kernel.
func (t *thread) gate() (uint64, error) {
	offset, err := gateOffset()
	if err != nil {
		return 0, err
	}
	base, err := vdso(fmt.Sprint(t.tid))
	if err != nil {
		return 0, err
	}
	found := make([]byte, len(instruction))
	if _, err := unix.PtracePeekText(t.tid, uintptr(base+offset), found); err != nil || !bytes.Equal(found, instruction) {
		return 0, errors.New("it has another vDSO, or none")
	}
	return base + offset, nil
}

// gateOffset is where that instruction is in the vDSO, which the kernel gives to all
// processes alike.
var gateOffset = sync.OnceValues(func() (uint64, error) {
	base, err := vdso("self")
	if err != nil {
		return 0, err
	}
	code := make([]byte, 2*os.Getpagesize()) // it may have less
	local := []unix.Iovec{{Base: &code[0]}}
	local[0].SetLen(len(code))
	n, err := unix.ProcessVMReadv(os.Getpid(), local, []unix.RemoteIovec{{Base: uintptr(base), Len: len(code)}}, 0)
	if err != nil {
		return 0, fmt.Errorf("cannot read the vDSO: %w", err)
	}
	for at := 0; at+len(instruction) <= n; at += alignment {
		if bytes.HasPrefix(code[at:n], instruction) {
			return uint64(at), nil
		}
	}
	return 0, errors.New("the vDSO has no system call")
})

// vdso returns where it begins in the process.
func vdso(pid string) (uint64, error) {
	const kind = 33 // AT_SYSINFO_EHDR
	auxv, err := os.ReadFile("/proc/" + pid + "/auxv")
	if err != nil {
		return 0, err
	}
	for ; len(auxv) >= 16; auxv = auxv[16:] {
		if binary.NativeEndian.Uint64(auxv) == kind {
			return binary.NativeEndian.Uint64(auxv[8:]), nil
		}
	}
	return 0, errors.New("there is no vDSO")
}

// section is the critical section of rseq(2) that a thread is in: where its
// descriptor is noted, and what is noted there. The kernel clears the note when it
// finds the thread elsewhere.
type section struct {
	note  uintptr
	value []byte
}

func (t *thread) critical() (s section, err error) {
	var area struct {
		address                       uint64
		size, signature, flags, spare uint32
	}
	if err := t.request(unix.PTRACE_GET_RSEQ_CONFIGURATION, unsafe.Sizeof(area), unsafe.Pointer(&area)); err != nil || area.address == 0 {
		return s, nil //nolint:nilerr // this kernel, or this thread, has none
	}
	const noted = 8 // offset of rseq_cs
	s.note, s.value = uintptr(area.address)+noted, make([]byte, 8)
	_, err = unix.PtracePeekData(t.tid, s.note, s.value)
	return s, err
}

func (t *thread) restore(s section) error {
	if len(bytes.Trim(s.value, "\x00")) == 0 {
		return nil
	}
	_, err := unix.PtracePokeData(t.tid, s.note, s.value)
	return err
}

// dispatches tells a thread whose system calls become signals, see
// PR_SET_SYSCALL_USER_DISPATCH.
func (t *thread) dispatches() bool {
	var config struct{ mode, selector, offset, length uint64 }
	err := t.request(unix.PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, unsafe.Sizeof(config), unsafe.Pointer(&config))
	return err == nil && config.mode != 0
}
