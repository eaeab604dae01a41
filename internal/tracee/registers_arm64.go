package tracee

import "golang.org/x/sys/unix"

// registers are the general registers of a thread.
type registers unix.PtraceRegsArm64

// syscallInstruction enters the kernel: SVC #0.
var syscallInstruction = []byte{0x01, 0x00, 0x00, 0xd4}

const instructionAlignment = 4

const generalRegisters = 1 // NT_PRSTATUS

// readRegisters returns the general registers of the stopped thread.
func (t *thread) readRegisters() (r registers, err error) {
	err = unix.PtraceGetRegSetArm64(t.tid, generalRegisters, (*unix.PtraceRegsArm64)(&r))
	return r, err
}

// writeRegisters sets the general registers of the stopped thread.
func (t *thread) writeRegisters(r registers) error {
	return unix.PtraceSetRegSetArm64(t.tid, generalRegisters, (*unix.PtraceRegsArm64)(&r))
}

// is64Bit reports whether the thread executes 64-bit code.
func (r *registers) is64Bit() bool {
	const code32 = 0x10
	return r.Pstate&code32 == 0
}

// setSyscall makes the thread execute the instruction at address as a system call. If a
// system call was interrupted, the kernel has already set the saved registers so that it
// is restarted afterwards.
func (r *registers) setSyscall(address uint64, number uintptr, arguments []uintptr) {
	r.Pc, r.Regs[8] = address, uint64(number)
	for i, argument := range arguments {
		r.Regs[i] = uint64(argument)
	}
}

// stackPointer returns the address of the top of the stack.
func (r *registers) stackPointer() uint64 { return r.Sp }

// syscallResult returns the result of a system call that has returned. A negative result
// is an error number.
func (r *registers) syscallResult() int64 { return int64(r.Regs[0]) }
