package procfs

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Scheduling is how a thread is scheduled.
type Scheduling struct {
	// Policy is SCHED_OTHER and its like, without SCHED_RESET_ON_FORK.
	Policy uint32
	// IsClamped means that the utilization of the thread is bounded, see SCHED_FLAG_UTIL_CLAMP
	// in sched_setattr(2).
	IsClamped bool
	// HasCookie means that the thread may share a core only with threads that have the same
	// cookie, and that this process has another, see PR_SCHED_CORE in prctl(2).
	HasCookie bool
}

// SchedulingOf returns how the thread is scheduled, and an error if it has ended.
func SchedulingOf(tid int) (Scheduling, error) {
	attributes, err := unix.SchedGetAttr(tid, 0)
	if err != nil {
		return Scheduling{}, err
	}
	const highest = 1024 // SCHED_CAPACITY_SCALE: no bound
	s := Scheduling{Policy: attributes.Policy}
	s.IsClamped = attributes.Size >= unix.SizeofSchedAttr && (attributes.Util_min > 0 || 0 < attributes.Util_max && attributes.Util_max < highest)
	cookie := coreCookie(tid)
	s.HasCookie = cookie != 0 && cookie != coreCookie(os.Getpid())
	return s, nil
}

// coreCookie returns the core scheduling cookie of the thread, 0 if it has none.
func coreCookie(tid int) (cookie uint64) {
	const get, ofThread = 0, 0 // PR_SCHED_CORE_GET, PIDTYPE_PID
	_, _, errno := unix.RawSyscall6(unix.SYS_PRCTL, unix.PR_SCHED_CORE, get, uintptr(tid), ofThread, uintptr(unsafe.Pointer(&cookie)), 0)
	if errno != 0 { // this kernel has none
		return 0
	}
	return cookie
}
