// Package tracee has threads of other processes execute system calls, through
// ptrace(2). It does not know what for.
package tracee

import (
	"encoding/binary"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
)

// Syscall has each of the threads execute the system call, which must neither block
// nor write to memory, and returns what came of it for those that live. A thread may
// be in job control stop and stays so; what it was doing goes on afterwards, as after
// such a stop. If this process dies meanwhile, so do they.
func Syscall(tids []int, number uintptr, arguments ...uintptr) (map[int]Result, error) {
	runtime.LockOSThread() // it is the tracer
	defer runtime.UnlockOSThread()
	threads := make([]*thread, len(tids))
	for i, tid := range tids {
		threads[i] = &thread{tid: tid}
	}
	results := make(map[int]Result, len(tids))
	var errs []error
	// All are begun with before the first is waited for: they run meanwhile.
	for _, step := range []func(*thread) error{
		(*thread).seize,
		func(t *thread) error { return t.begin(number, arguments) },
		(*thread).proceed,
		func(t *thread) error {
			result, err := t.finish()
			if err == nil {
				results[t.tid] = result
			}
			return err
		},
	} {
		var going []*thread
		for _, t := range threads {
			if err := step(t); err == nil {
				going = append(going, t)
			} else if !t.lost() {
				errs = append(errs, fmt.Errorf("cannot trace task %d: %w", t.tid, err))
			}
		}
		threads = going
	}
	return results, errors.Join(errs...)
}

// Result is what came of a system call: its value, or why there is none.
type Result struct {
	Value int64
	Errno unix.Errno
}

// options make the thread's own seccomp filters pass over what it is made to do,
// and end it with the tracer rather than let it run on with foreign registers.
const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_SUSPEND_SECCOMP | unix.PTRACE_O_EXITKILL

// thread is one that is made to execute a system call. What it has to find again is
// noted in it.
type thread struct {
	tid       int
	held      bool
	registers registers
	blocked   uint64 // signals
	section   section
}

func (t *thread) seize() error {
	if err := unix.PtraceSeize(t.tid); err != nil {
		return err
	}
	t.held = true
	return unix.PtraceInterrupt(t.tid)
}

// begin notes what the thread was doing, and lets it run up to the system call. No
// signal can come between.
func (t *thread) begin(number uintptr, arguments []uintptr) (err error) {
	if _, err = t.wait(); err != nil {
		return err
	}
	if t.registers, err = t.get(); err != nil {
		return err
	}
	r := t.registers
	if !r.native() {
		return errors.New("it is a 32-bit program")
	}
	if t.dispatches() {
		return errors.New("it dispatches its system calls itself")
	}
	gate, err := t.gate()
	if err != nil {
		return err
	}
	if t.section, err = t.critical(); err != nil {
		return err
	}
	if err = t.request(unix.PTRACE_GETSIGMASK, signals, unsafe.Pointer(&t.blocked)); err != nil {
		return err
	}
	if err = unix.PtraceSetOptions(t.tid, options); err != nil {
		return err
	}
	every := ^uint64(0)
	if err = t.request(unix.PTRACE_SETSIGMASK, signals, unsafe.Pointer(&every)); err != nil {
		return err
	}
	r.enter(gate, number, arguments)
	if err = t.set(r); err != nil {
		return err
	}
	return unix.PtraceSyscall(t.tid, 0)
}

// signals is the size of a signal set.
const signals = 8

// proceed lets the thread run through the system call that it has come to.
func (t *thread) proceed() error {
	if err := t.arrive(); err != nil {
		return err
	}
	return unix.PtraceSyscall(t.tid, 0)
}

// finish lets go of the thread, which is as it was, and returns what came of the
// system call.
func (t *thread) finish() (result Result, err error) {
	if err := t.arrive(); err != nil {
		return result, err
	}
	r, err := t.get()
	if err == nil {
		err = t.set(t.registers)
	}
	if err == nil {
		err = t.restore(t.section)
	}
	if err == nil {
		err = t.request(unix.PTRACE_SETSIGMASK, signals, unsafe.Pointer(&t.blocked))
	}
	if err != nil {
		return result, err
	}
	if value := r.result(); -4096 < value && value < 0 {
		result.Errno = unix.Errno(-value)
	} else {
		result.Value = value
	}
	return result, t.detach()
}

// lost lets go of a thread with which something went wrong, and tells whether that is
// because it has ended.
func (t *thread) lost() bool {
	if t.held {
		return errors.Is(t.detach(), unix.ESRCH)
	}
	return procfs.HasEnded(t.tid)
}

func (t *thread) detach() error { return t.request(unix.PTRACE_DETACH, 0, nil) }

// arrive returns when the thread enters a system call or leaves one.
func (t *thread) arrive() error {
	for {
		stop, err := t.wait()
		if err != nil || stop == int(unix.SIGTRAP)|0x80 {
			return err
		}
		if stop>>8 != 0 { // no signal, but a stop of its own
			stop = 0
		} // else SIGSTOP, which nobody can block
		if err := unix.PtraceSyscall(t.tid, stop); err != nil {
			return err
		}
	}
}

// wait returns when the thread stands still, and why. If it ends instead, whoever is
// its parent must find that out: it may be this process.
func (t *thread) wait() (stop int, err error) {
	const status = 24 // offset of si_status
	var info unix.Siginfo
	for {
		err := unix.Waitid(unix.P_PID, t.tid, &info, unix.WSTOPPED|unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ECHILD):
			return 0, unix.ESRCH
		case err != nil:
			return 0, err
		default:
			bytes := (*[unsafe.Sizeof(info)]byte)(unsafe.Pointer(&info))
			return int(binary.NativeEndian.Uint32(bytes[status:])), nil
		}
	}
}

func (t *thread) request(what int, size uintptr, data unsafe.Pointer) error {
	if _, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(what), uintptr(t.tid), size, uintptr(data), 0, 0); errno != 0 {
		return errno
	}
	return nil
}
