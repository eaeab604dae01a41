package procfs

import (
	"slices"

	"golang.org/x/sys/unix"
)

// IsStopped reports whether the process is in job control stop, as after SIGSTOP.
func IsStopped(pid int) bool { return StateLetter(pid) == "T" }

// HasEnded reports whether the process is a zombie or gone.
func HasEnded(pid int) bool {
	s := StateLetter(pid)
	return s == "Z" || s == ""
}

// HasUninterruptibleThread reports whether a thread of the process is in a wait that no
// signal can end, such as the wait of vfork(2) for the child.
func HasUninterruptibleThread(pid int) bool {
	return slices.ContainsFunc(ThreadIDs(pid), func(tid int) bool { return StateLetter(tid) == "D" })
}

// StateLetter returns the state of the process or thread as in proc(5), such as "R" for
// running, "" when the process is gone.
func StateLetter(pid int) string { return statField(pid, 3) }

// ContinueStopped sends SIGCONT to each process, so that stopped processes run again. A
// process that is gone is left out.
func ContinueStopped(pids []int) {
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGCONT) // the process may be gone
	}
}
