package tracee

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// syscallInstructionAddress returns the address of an instruction in the vDSO of the
// thread's process that enters the kernel, see vdso(7). It returns an error if the process
// has no vDSO, or another one than this process.
func (t *thread) syscallInstructionAddress() (uint64, error) {
	offset, err := syscallOffset()
	if err != nil {
		return 0, err
	}
	base, err := vdsoAddress(fmt.Sprint(t.tid))
	if err != nil {
		return 0, err
	}
	found := make([]byte, len(syscallInstruction))
	if _, err := unix.PtracePeekText(t.tid, uintptr(base+offset), found); err != nil || !bytes.Equal(found, syscallInstruction) {
		return 0, errors.New("it has another vDSO, or none")
	}
	return base + offset, nil
}

// syscallOffset returns the offset of syscallInstruction in the vDSO. It searches this
// process's vDSO: the kernel gives all processes the same.
var syscallOffset = sync.OnceValues(func() (uint64, error) {
	base, err := vdsoAddress("self")
	if err != nil {
		return 0, err
	}
	code := make([]byte, 2*os.Getpagesize()) // the vDSO may be smaller
	local := []unix.Iovec{{Base: &code[0]}}
	local[0].SetLen(len(code))
	n, err := unix.ProcessVMReadv(os.Getpid(), local, []unix.RemoteIovec{{Base: uintptr(base), Len: len(code)}}, 0)
	if err != nil {
		return 0, fmt.Errorf("cannot read the vDSO: %w", err)
	}
	for at := 0; at+len(syscallInstruction) <= n; at += instructionAlignment {
		if bytes.HasPrefix(code[at:n], syscallInstruction) {
			return uint64(at), nil
		}
	}
	return 0, errors.New("the vDSO has no system call")
})

// vdsoAddress returns where the vDSO begins in the memory of the process, whose
// PID or "self" is pidOrSelf.
func vdsoAddress(pidOrSelf string) (uint64, error) {
	const kind = 33 // AT_SYSINFO_EHDR
	auxv, err := os.ReadFile("/proc/" + pidOrSelf + "/auxv")
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
