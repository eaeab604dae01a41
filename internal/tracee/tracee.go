// Package tracee makes threads of other processes execute system calls, by ptrace(2). It
// does not know which system calls, or why.
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

// SyscallInThreads makes each thread execute the system call, and returns the results by
// thread ID. Threads that have ended have no result. The error names the threads that
// could not be traced; the results of the others are valid. The system call must neither
// block nor write to memory. Afterwards each thread goes on where it was, or stays in job
// control stop. If this process is killed meanwhile, so are the threads' processes.
func SyscallInThreads(tids []int, number uintptr, arguments ...uintptr) (resultsByTID map[int]Result, err error) {
	runtime.LockOSThread() // the tracer is a thread, not a process
	defer runtime.UnlockOSThread()
	threads := make([]*thread, len(tids))
	for i, tid := range tids {
		threads[i] = &thread{tid: tid}
	}
	results := make(map[int]Result, len(tids))
	var errs []error
	// Each step is taken for all threads before the next step waits for the first
	// thread, so that all threads run meanwhile.
	for _, step := range []func(*thread) error{
		(*thread).attachAndInterrupt,
		func(t *thread) error { return t.saveStateAndRunToSyscallEntry(number, arguments) },
		(*thread).runToSyscallExit,
		func(t *thread) error {
			result, err := t.finishSyscallAndDetach()
			if err == nil {
				results[t.tid] = result
			}
			return err
		},
	} {
		var remaining []*thread
		for _, t := range threads {
			if err := step(t); err == nil {
				remaining = append(remaining, t)
			} else if !t.detachAfterError() {
				errs = append(errs, fmt.Errorf("cannot trace thread %d: %w", t.tid, err))
			}
		}
		threads = remaining
	}
	return results, errors.Join(errs...)
}

// Result is the result of a system call: its value, or an error number other than 0.
type Result struct {
	Value int64
	Errno unix.Errno
}

// options suspend the thread's own seccomp filters, and kill the thread with the tracer:
// it must not run on with changed registers.
const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_SUSPEND_SECCOMP | unix.PTRACE_O_EXITKILL

// thread is a thread under ptrace, with the state that must be restored.
type thread struct {
	tid       int
	seized    bool
	registers registers
	blocked   uint64 // signals
	rseq      rseqPointer
}

// attachAndInterrupt attaches to the thread and stops it. It does not wait for the stop.
func (t *thread) attachAndInterrupt() error {
	if err := unix.PtraceSeize(t.tid); err != nil {
		return err
	}
	t.seized = true
	return unix.PtraceInterrupt(t.tid)
}

// saveStateAndRunToSyscallEntry waits for the stop that attachAndInterrupt asked for, saves the
// thread's state, and lets it run to the entry of the system call. It does not wait until
// the thread is there. It blocks all signals of the thread, so that no handler runs in
// between.
func (t *thread) saveStateAndRunToSyscallEntry(number uintptr, arguments []uintptr) (err error) {
	if _, err = t.waitForStop(); err != nil {
		return err
	}
	if t.registers, err = t.readRegisters(); err != nil {
		return err
	}
	r := t.registers
	if !r.is64Bit() {
		return errors.New("it is a 32-bit program")
	}
	if t.hasSyscallUserDispatch() {
		return errors.New("it dispatches its system calls itself")
	}
	address, err := t.syscallInstructionAddress()
	if err != nil {
		return err
	}
	if t.rseq, err = t.readRseqPointer(); err != nil {
		return err
	}
	if err = t.ptrace(unix.PTRACE_GETSIGMASK, signalSetSize, unsafe.Pointer(&t.blocked)); err != nil {
		return err
	}
	if err = unix.PtraceSetOptions(t.tid, options); err != nil {
		return err
	}
	all := ^uint64(0)
	if err = t.ptrace(unix.PTRACE_SETSIGMASK, signalSetSize, unsafe.Pointer(&all)); err != nil {
		return err
	}
	r.setSyscall(address, number, arguments)
	if err = t.writeRegisters(r); err != nil {
		return err
	}
	return unix.PtraceSyscall(t.tid, 0)
}

// signalSetSize is the size of a signal set of the kernel in bytes.
const signalSetSize = 8

// runToSyscallExit waits until the thread is at the entry of the system call, and lets it run
// to the exit. It does not wait until the thread is there.
func (t *thread) runToSyscallExit() error {
	if err := t.waitForSyscallStop(); err != nil {
		return err
	}
	return unix.PtraceSyscall(t.tid, 0)
}

// finishSyscallAndDetach waits for the exit of the system call, restores the thread's
// state, detaches, and returns the result.
func (t *thread) finishSyscallAndDetach() (result Result, err error) {
	if err := t.waitForSyscallStop(); err != nil {
		return result, err
	}
	r, err := t.readRegisters()
	if err == nil {
		err = t.writeRegisters(t.registers)
	}
	if err == nil {
		err = t.restoreRseqPointer(t.rseq)
	}
	if err == nil {
		err = t.ptrace(unix.PTRACE_SETSIGMASK, signalSetSize, unsafe.Pointer(&t.blocked))
	}
	if err != nil {
		return result, err
	}
	if value := r.syscallResult(); -4096 < value && value < 0 {
		result.Errno = unix.Errno(-value)
	} else {
		result.Value = value
	}
	return result, t.detach()
}

// detachAfterError detaches from a thread after an error, and reports whether the error
// came because the thread has ended.
func (t *thread) detachAfterError() (hasEnded bool) {
	if t.seized {
		return errors.Is(t.detach(), unix.ESRCH)
	}
	return procfs.HasEnded(t.tid)
}

// detach ends the tracing of the thread, which must be stopped.
func (t *thread) detach() error { return t.ptrace(unix.PTRACE_DETACH, 0, nil) }

// waitForSyscallStop returns when the thread stops at the entry or exit of a system call. It
// lets the thread run on from any other stop.
func (t *thread) waitForSyscallStop() error {
	for {
		stop, err := t.waitForStop()
		if err != nil || stop == int(unix.SIGTRAP)|0x80 {
			return err
		}
		if stop>>8 != 0 { // a stop by ptrace itself: there is no signal to pass on
			stop = 0
		} // else SIGSTOP, the only signal that cannot be blocked and does not kill
		if err := unix.PtraceSyscall(t.tid, stop); err != nil {
			return err
		}
	}
}

// waitForStop returns when the thread has stopped, with the reason (si_status). If the
// thread ends instead, the error is ESRCH, and its exit status is left for its parent,
// which may be this process.
func (t *thread) waitForStop() (reason int, err error) {
	const offset = 24 // of si_status
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
			return int(binary.NativeEndian.Uint32(bytes[offset:])), nil
		}
	}
}

// hasSyscallUserDispatch reports whether system calls of the thread become signals, see
// PR_SET_SYSCALL_USER_DISPATCH in prctl(2).
func (t *thread) hasSyscallUserDispatch() bool {
	var config struct{ mode, selector, offset, length uint64 }
	err := t.ptrace(unix.PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG, unsafe.Sizeof(config), unsafe.Pointer(&config))
	return err == nil && config.mode != 0
}

// ptrace makes a ptrace request that golang.org/x/sys/unix does not have.
func (t *thread) ptrace(request int, size uintptr, data unsafe.Pointer) error {
	if _, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, uintptr(request), uintptr(t.tid), size, uintptr(data), 0, 0); errno != 0 {
		return errno
	}
	return nil
}
