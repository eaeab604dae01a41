package tracee

import "golang.org/x/sys/unix"

type registers unix.PtraceRegsAmd64

// instruction is SYSCALL.
var instruction = []byte{0x0f, 0x05}

const alignment = 1

func (t *thread) get() (r registers, err error) {
	err = unix.PtraceGetRegsAmd64(t.tid, (*unix.PtraceRegsAmd64)(&r))
	return r, err
}

func (t *thread) set(r registers) error {
	return unix.PtraceSetRegsAmd64(t.tid, (*unix.PtraceRegsAmd64)(&r))
}

// native tells whether the thread executes 64-bit code.
func (r *registers) native() bool {
	const code64 = 0x33
	return r.Cs == code64
}

// enter makes the thread begin a system call, and one that was interrupted not begin
// again before that.
func (r *registers) enter(gate uint64, number uintptr, arguments []uintptr) {
	r.Rip, r.Rax, r.Orig_rax = gate, uint64(number), ^uint64(0)
	for i, to := range []*uint64{&r.Rdi, &r.Rsi, &r.Rdx, &r.R10, &r.R8, &r.R9}[:len(arguments)] {
		*to = uint64(arguments[i])
	}
}

func (r *registers) result() int64 { return int64(r.Rax) }
