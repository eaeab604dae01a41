package procfs

import (
	"bytes"
	"fmt"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// Stopped tells whether the process is in job control stop.
func IsStopped(pid int) bool {
	return stateLetter(pid) == 'T'
}

// Zombie tells whether the process has ended and waits to be reaped, or is gone.
func HasEnded(pid int) bool {
	s := stateLetter(pid)
	return s == 'Z' || s == 0
}

// Uninterruptible tells whether a thread of the process waits for what no signal
// ends, such as a child that it made by vfork.
func HasUninterruptibleThread(pid int) bool {
	return slices.ContainsFunc(ThreadIDs(pid), func(tid int) bool { return stateLetter(tid) == 'D' })
}

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

// Continue sends SIGCONT to each process.
func Continue(pids []int) {
	for _, pid := range pids {
		_ = unix.Kill(pid, unix.SIGCONT) // one that is gone needs none
	}
}
