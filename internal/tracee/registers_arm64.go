package tracee

import "golang.org/x/sys/unix"

type registers unix.PtraceRegsArm64

// instruction is SVC #0.
var instruction = []byte{0x01, 0x00, 0x00, 0xd4}

const alignment = 4

const general = 1 // NT_PRSTATUS

func (t *thread) get() (r registers, err error) {
	err = unix.PtraceGetRegSetArm64(t.tid, general, (*unix.PtraceRegsArm64)(&r))
	return r, err
}

func (t *thread) set(r registers) error {
	return unix.PtraceSetRegSetArm64(t.tid, general, (*unix.PtraceRegsArm64)(&r))
}

// native tells whether the thread executes 64-bit code.
func (r *registers) native() bool {
	const code32 = 0x10
	return r.Pstate&code32 == 0
}

// enter makes the thread begin a system call. For one that was interrupted the
// kernel has already set the registers so that it begins again.
func (r *registers) enter(gate uint64, number uintptr, arguments []uintptr) {
	r.Pc, r.Regs[8] = gate, uint64(number)
	for i, argument := range arguments {
		r.Regs[i] = uint64(argument)
	}
}

func (r *registers) result() int64 { return int64(r.Regs[0]) }
