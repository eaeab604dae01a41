// Package tracee makes threads of other processes execute system calls, by ptrace(2). It
// does not know which system calls, or why.
package tracee

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"dormouse/internal/procfs"
)

// limit is how long SyscallInThreads waits for the threads.
const limit = 5 * time.Second

// errLate is the error of a thread that neither stopped nor ended in time.
var errLate = errors.New("it neither stops nor ends")

// UntraceableError is the error of a living thread that can't be made to execute a system
// call.
type UntraceableError struct {
	TID   int
	Cause error // ErrIs32Bit or ErrDispatches
}

// The causes of an UntraceableError.
var (
	ErrIs32Bit    = errors.New("it is a 32-bit program")
	ErrDispatches = errors.New("it dispatches its system calls itself")
)

// Error returns the cause.
func (e *UntraceableError) Error() string { return e.Cause.Error() }

// Unwrap returns the cause.
func (e *UntraceableError) Unwrap() error { return e.Cause }

// SyscallInThreads makes each thread execute the system call, and returns the results by
// thread ID. Threads that have ended have no result. The error names the threads that
// could not be traced; the results of the others are valid. The system call must neither
// block nor write to memory. Afterwards each thread goes on where it was, or stays in job
// control stop. If this process is killed meanwhile, so are the threads' processes.
//
// SyscallInThreads gives up after five seconds. A thread that has neither stopped nor ended
// by then is released in the background when it does.
func SyscallInThreads(tids []int, number uintptr, arguments ...uintptr) (resultsByTID map[int]Result, err error) {
	return traceInOwnThread(tids, systemCall{number: number, arguments: arguments})
}

// traceInOwnThread is SyscallInThreads for any system call.
func traceInOwnThread(tids []int, call systemCall) (resultsByTID map[int]Result, err error) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread() // the tracer is a thread, not a process
		defer runtime.UnlockOSThread()
		var late []*thread
		resultsByTID, late, err = traceThreads(tids, call)
		close(done)
		releaseAll(late)
	}()
	<-done
	return resultsByTID, err
}

// traceThreads is SyscallInThreads in the thread that traces. It returns in late the threads
// that it could not release in time.
func traceThreads(tids []int, call systemCall) (results map[int]Result, late []*thread, err error) {
	deadline := time.Now().Add(limit)
	threads := make([]*thread, len(tids))
	for i, tid := range tids {
		threads[i] = &thread{tid: tid, deadline: deadline}
	}
	for _, t := range threads {
		t.all = threads
	}
	results = make(map[int]Result, len(tids))
	var errs []error
	// Each step is taken for all threads before the next step waits for the first
	// thread, so that all threads run meanwhile.
	for _, step := range []func(*thread) error{
		(*thread).attachAndInterrupt,
		func(t *thread) error { return t.saveStateAndRunToSyscallEntry(call) },
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
			err := step(t)
			if err == nil {
				remaining = append(remaining, t)
				continue
			}
			if !t.releaseInTime() {
				late = append(late, t)
			}
			if !procfs.HasEnded(t.tid) {
				errs = append(errs, fmt.Errorf("cannot trace thread %d: %w", t.tid, err))
			}
		}
		threads = remaining
	}
	return results, late, errors.Join(errs...)
}

// releaseAll returns when all threads are released, however long they take: only the thread
// that traces can release them.
func releaseAll(threads []*thread) {
	for len(threads) > 0 {
		threads = slices.DeleteFunc(threads, (*thread).release) // one may wait for another to be reaped
		if len(threads) > 0 {
			time.Sleep(10 * time.Millisecond)
		}
	}
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
	deadline  time.Time
	all       []*thread // that are traced together
	reaped    bool
	seized    bool
	changed   bool // runs with other registers than its own
	registers registers
	blocked   uint64 // signals
	rseq      rseqPointer
	lent      lentMemory
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
func (t *thread) saveStateAndRunToSyscallEntry(call systemCall) (err error) {
	if _, err = t.waitForStop(); err != nil {
		return err
	}
	if t.registers, err = t.readRegisters(); err != nil {
		return err
	}
	r := t.registers
	if !r.is64Bit() {
		return &UntraceableError{t.tid, ErrIs32Bit}
	}
	if t.hasSyscallUserDispatch() {
		return &UntraceableError{t.tid, ErrDispatches}
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
	t.changed = true
	arguments, err := t.lendMemory(call)
	if err != nil {
		return err
	}
	r.setSyscall(address, call.number, arguments)
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
		err = t.restoreState()
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

// restoreState gives the stopped thread its own memory, registers and signal mask back.
func (t *thread) restoreState() error {
	err := t.takeMemoryBack()
	if err == nil {
		err = t.writeRegisters(t.registers)
	}
	if err == nil {
		err = t.restoreRseqPointer(t.rseq)
	}
	if err == nil {
		err = t.ptrace(unix.PTRACE_SETSIGMASK, signalSetSize, unsafe.Pointer(&t.blocked))
	}
	return err
}

// releaseInTime releases the thread, for which it waits until the deadline, and reports
// whether it could.
func (t *thread) releaseInTime() (released bool) {
	for pause := minPause; !t.release(); pause = t.waitAndLengthen(pause) {
		if time.Now().After(t.deadline) {
			return false
		}
	}
	return true
}

// release ends the tracing of a thread that has stopped or ended, and reports whether it
// has. A thread that ended while it was traced is a zombie of the tracer's: its parent can't
// reap it, and its PID namespace can't end, before the tracer has. Only the exit status of
// a child of this process is left for the reaper of that child.
func (t *thread) release() (released bool) {
	if !t.seized || t.reaped {
		return true
	}
	if t.changed && t.restoreState() == nil {
		t.changed = false
	}
	if !t.changed && t.detach() == nil {
		return true
	}
	return t.reapIfEnded()
}

// reapIfEnded reaps the thread if it has ended, and reports whether it is no tracee any more.
// A child of this process that has ended is left to be reaped by another thread.
func (t *thread) reapIfEnded() (isGone bool) {
	states := unix.WSTOPPED | unix.WEXITED
	if procfs.Parent(t.tid) == os.Getpid() && procfs.IsProcess(t.tid) {
		states = unix.WSTOPPED // ECHILD once the child is a zombie
	}
	var info unix.Siginfo
	err := unix.Waitid(unix.P_PID, t.tid, &info, states|unix.WALL|unix.WNOHANG|unix.WNOTHREAD|unix.WNOWAIT, nil)
	if err != nil {
		return errors.Is(err, unix.ECHILD)
	}
	if info.Signo == 0 || info.Code != cldExited && info.Code != cldKilled && info.Code != cldDumped {
		return false // the stop is left for waitForStop
	}
	err = unix.Waitid(unix.P_PID, t.tid, &info, unix.WEXITED|unix.WALL|unix.WNOHANG|unix.WNOTHREAD, nil)
	t.reaped = err == nil || errors.Is(err, unix.ECHILD)
	return t.reaped
}

// The codes of waitid(2) for a process or thread that has ended.
const (
	cldExited = 1
	cldKilled = 2
	cldDumped = 3
)

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
// thread ends instead, the error is ESRCH, and its exit status is left for release. The
// error is errLate if the deadline passes before.
func (t *thread) waitForStop() (reason int, err error) {
	const offset = 24 // of si_status
	for pause := minPause; ; pause = t.waitAndLengthen(pause) {
		var info unix.Siginfo
		err := unix.Waitid(unix.P_PID, t.tid, &info, unix.WSTOPPED|unix.WALL|unix.WNOHANG, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.ECHILD), t.reaped:
			return 0, unix.ESRCH
		case err != nil:
			return 0, err
		case info.Signo != 0:
			bytes := (*[unsafe.Sizeof(info)]byte)(unsafe.Pointer(&info))
			return int(binary.NativeEndian.Uint32(bytes[offset:])), nil
		}
		if time.Now().After(t.deadline) {
			return 0, errLate
		}
	}
}

// The pauses between two looks at a thread. Most threads stop within the first.
const (
	minPause = 10 * time.Microsecond
	maxPause = time.Millisecond
)

// waitAndLengthen waits for the pause and returns the next one. It does not let go of the
// processor's thread, as time.Sleep would. After a long pause it reaps other threads that have
// ended: pid 1 of a namespace neither stops nor ends before all others have been reaped.
func (t *thread) waitAndLengthen(pause time.Duration) (next time.Duration) {
	if pause == maxPause {
		for _, other := range t.all {
			if other != t && other.seized && !other.reaped && procfs.HasEnded(other.tid) {
				other.reapIfEnded()
			}
		}
	}
	spec := unix.NsecToTimespec(int64(pause))
	_ = unix.Nanosleep(&spec, nil) // a shorter pause does no harm
	return min(2*pause, maxPause)
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
