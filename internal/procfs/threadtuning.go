package procfs

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// ThreadTuning is the scheduling settings of one thread, and the core dump filter of its
// process. A setting that equals this process's own is zero.
type ThreadTuning struct {
	// ID is the thread's number in its own PID namespace.
	ID int `json:"id"`
	// Processors is the affinity mask, see sched_setaffinity(2).
	Processors []uint64 `json:"processors,omitempty"`
	IOPriority int      `json:"ioPriority,omitempty"`
	// Slack is the timer slack in nanoseconds.
	Slack uint64 `json:"slack,omitempty"`
	// Core is the coredump_filter of the process.
	Core string `json:"core,omitempty"`
}

// DifferingThreadTunings returns the tuning of each thread of the processes, without the
// threads whose settings all equal those of this process.
func DifferingThreadTunings(pids []int) []ThreadTuning {
	own := readThreadTuning(os.Getpid())
	var all []ThreadTuning
	forEachThread(pids, func(tid, id int) {
		t := readThreadTuning(tid)
		if slices.Equal(t.Processors, own.Processors) {
			t.Processors = nil
		}
		if t.IOPriority == own.IOPriority {
			t.IOPriority = 0
		}
		if t.Slack == own.Slack {
			t.Slack = 0
		}
		if t.Core == own.Core {
			t.Core = ""
		}
		if t.ID = id; len(t.Processors) > 0 || t.IOPriority != 0 || t.Slack != 0 || t.Core != "" {
			all = append(all, t)
		}
	})
	return all
}

// ApplyThreadTunings applies each wanted tuning to the thread of the processes that has its
// ID. It goes on after an error and returns the first error.
func ApplyThreadTunings(pids []int, wanted []ThreadTuning) error {
	if len(wanted) == 0 {
		return nil
	}
	byID := make(map[int]ThreadTuning, len(wanted))
	for _, t := range wanted {
		byID[t.ID] = t
	}
	var first error
	forEachThread(pids, func(tid, id int) {
		if t, ok := byID[id]; ok {
			if err := t.applyTo(tid); err != nil && first == nil {
				first = fmt.Errorf("cannot tune thread %d: %w", id, err)
			}
		}
	})
	return first
}

// forEachThread calls visit for every thread of the processes, with its TID and with its
// TID in its own PID namespace. It leaves out threads that have ended.
func forEachThread(pids []int, visit func(tid, idInNamespace int)) {
	for _, pid := range pids {
		for _, tid := range ThreadIDs(pid) {
			if idInNamespace := NSPid(tid); idInNamespace != 0 {
				visit(tid, idInNamespace)
			}
		}
	}
}

// ioprioProcess is IOPRIO_WHO_PROCESS of ioprio_get(2): the ID is that of one thread.
const ioprioProcess = 1

// readThreadTuning returns the tuning of a thread, without its ID.
func readThreadTuning(tid int) (t ThreadTuning) {
	mask := make([]uint64, 128) // 8192 processors
	n, _, errno := unix.RawSyscall(unix.SYS_SCHED_GETAFFINITY, uintptr(tid), uintptr(len(mask)*8), uintptr(unsafe.Pointer(&mask[0])))
	if errno == 0 {
		t.Processors = mask[:n/8]
	}
	if value, _, errno := unix.RawSyscall(unix.SYS_IOPRIO_GET, ioprioProcess, uintptr(tid), 0); errno == 0 {
		t.IOPriority = int(value)
	}
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/timerslack_ns", tid))
	t.Slack, _ = strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	text, _ = os.ReadFile(fmt.Sprintf("/proc/%d/coredump_filter", tid))
	t.Core = strings.TrimSpace(string(text))
	return t
}

// applyTo sets those settings of the thread that are not zero in t.
func (t ThreadTuning) applyTo(tid int) error {
	if n := len(t.Processors); n > 0 {
		if _, _, errno := unix.RawSyscall(unix.SYS_SCHED_SETAFFINITY, uintptr(tid), uintptr(n*8), uintptr(unsafe.Pointer(&t.Processors[0]))); errno != 0 {
			return fmt.Errorf("its affinity: %w", errno)
		}
	}
	if t.IOPriority != 0 {
		if _, _, errno := unix.RawSyscall(unix.SYS_IOPRIO_SET, ioprioProcess, uintptr(tid), uintptr(t.IOPriority)); errno != 0 {
			return fmt.Errorf("its I/O priority: %w", errno)
		}
	}
	if t.Slack != 0 {
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/timerslack_ns", tid), []byte(strconv.FormatUint(t.Slack, 10)), 0); err != nil {
			return err
		}
	}
	if t.Core != "" {
		return os.WriteFile(fmt.Sprintf("/proc/%d/coredump_filter", tid), []byte("0x"+t.Core), 0)
	}
	return nil
}
