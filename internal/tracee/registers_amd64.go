package tracee

import "golang.org/x/sys/unix"

// registers are the general registers of a thread.
type registers unix.PtraceRegsAmd64

// syscallInstruction enters the kernel: SYSCALL.
var syscallInstruction = []byte{0x0f, 0x05}

const instructionAlignment = 1

// readRegisters returns the general registers of the stopped thread.
func (t *thread) readRegisters() (r registers, err error) {
	err = unix.PtraceGetRegsAmd64(t.tid, (*unix.PtraceRegsAmd64)(&r))
	return r, err
}

// writeRegisters sets the general registers of the stopped thread.
func (t *thread) writeRegisters(r registers) error {
	return unix.PtraceSetRegsAmd64(t.tid, (*unix.PtraceRegsAmd64)(&r))
}

// is64Bit reports whether the thread executes 64-bit code.
func (r *registers) is64Bit() bool {
	const code64 = 0x33
	return r.Cs == code64
}

// setSyscall makes the thread execute the instruction at address as a system call. It
// also keeps the kernel from restarting a system call that was interrupted before.
func (r *registers) setSyscall(address uint64, number uintptr, arguments []uintptr) {
	r.Rip, r.Rax, r.Orig_rax = address, uint64(number), ^uint64(0)
	for i, to := range []*uint64{&r.Rdi, &r.Rsi, &r.Rdx, &r.R10, &r.R8, &r.R9}[:len(arguments)] {
		*to = uint64(arguments[i])
	}
}

// stackPointer returns the address of the top of the stack.
func (r *registers) stackPointer() uint64 { return r.Rsp }

// syscallResult returns the result of a system call that has returned. A negative result
// is an error number.
func (r *registers) syscallResult() int64 { return int64(r.Rax) }
