package procfs

import (
	"bytes"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// IsStopped reports whether the process is in job control stop, as after SIGSTOP.
func IsStopped(pid int) bool {
	return stateLetter(pid) == 'T'
}

// HasEnded reports whether the process is a zombie or gone.
func HasEnded(pid int) bool {
	s := stateLetter(pid)
	return s == 'Z' || s == 0
}

// HasUninterruptibleThread reports whether a thread of the process is in a wait that no
// signal ends, such as the wait of vfork(2) for the child.
func HasUninterruptibleThread(pid int) bool {
	return slices.ContainsFunc(ThreadIDs(pid), func(tid int) bool { return stateLetter(tid) == 'D' })
}

// stateLetter returns the third field of /proc/<pid>/stat, such as 'R', 0 when the
// process is gone.
func stateLetter(pid int) byte {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The command in parentheses may itself hold parentheses and spaces.
	end := bytes.LastIndexByte(text, ')')
	if end < 0 || len(text) < end+3 {
		return 0
	}
	return text[end+2]
}

// Continue sends SIGCONT to each of the processes.
func Continue(pids []int) {
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGCONT) // it may be gone
	}
}
