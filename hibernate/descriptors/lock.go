package descriptors

import (
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"

	"dormouse/internal/procfs"
)

// Lock is a lock of a file that the tree holds. An engine restores locks; the notes are for
// the time of the sleep.
type Lock struct {
	Place
	// Path is the name of the file, for errors.
	Path string `json:"path"`
	fileLock
}

// fileLock is a line of /proc/locks, or of a descriptor in /proc/<pid>/fdinfo/<fd>.
type fileLock struct {
	// Kind is flockKind, recordKind or descriptionKind.
	Kind string `json:"kind"`
	// File is the number of its device and its inode.
	File  string `json:"file"`
	Write bool   `json:"write,omitempty"`
	// Start and End are the first and last locked byte.
	Start int64 `json:"start,omitempty"`
	End   int64 `json:"end,omitempty"`

	pid int // of the process that has taken it, as this process sees it; 0 or less if unknown
}

// Kinds of locks, as the kernel names them.
const (
	flockKind       = "FLOCK"  // flock(2)
	recordKind      = "POSIX"  // F_SETLK, of a process
	descriptionKind = "OFDLCK" // F_OFD_SETLK, of an open file description
)

// parseFileLock returns the lock in the words of a line, after its number. isLock is false
// for leases, and for a thread that only waits for a lock.
func parseFileLock(words []string) (l fileLock, isLock bool) {
	if len(words) < 7 { // kind, mode, access, pid, file, start, end
		return l, false
	}
	l = fileLock{Kind: words[0], File: words[4], Write: words[2] == "WRITE", End: math.MaxInt64}
	if l.Kind != flockKind && l.Kind != recordKind && l.Kind != descriptionKind {
		return l, false
	}
	var errs [3]error
	l.pid, errs[0] = strconv.Atoi(words[3])
	l.Start, errs[1] = strconv.ParseInt(words[5], 10, 64)
	if words[6] != "EOF" {
		l.End, errs[2] = strconv.ParseInt(words[6], 10, 64)
	}
	return l, errors.Join(errs[:]...) == nil
}

// conflictsWith reports whether not both locks can be held at the same time by different
// owners.
func (l fileLock) conflictsWith(other fileLock) bool {
	return l.File == other.File && (l.Kind == flockKind) == (other.Kind == flockKind) && (l.Write || other.Write) &&
		l.Start <= other.End && other.Start <= l.End
}

// locksOfMachine returns all locks that processes hold.
func locksOfMachine() (locks []fileLock, err error) {
	text, err := os.ReadFile("/proc/locks")
	if errors.Is(err, os.ErrNotExist) { // this kernel has no locks
		return nil, nil
	}
	for line := range strings.Lines(string(text)) {
		if words := strings.Fields(line); len(words) > 1 {
			if l, isLock := parseFileLock(words[1:]); isLock {
				locks = append(locks, l)
			}
		}
	}
	return locks, err
}

// addLocks adds a note of each lock that the tree holds by the descriptor.
func (n *Notes) addLocks(d procfs.Descriptor, place Place) {
	for line := range strings.Lines(d.Info()) {
		text, isLock := strings.CutPrefix(line, "lock:")
		words := strings.Fields(text)
		if !isLock || len(words) < 2 {
			continue
		}
		if l, isLock := parseFileLock(words[1:]); isLock {
			n.Locks = append(n.Locks, Lock{Place: place, Path: d.Target, fileLock: l})
		}
	}
}

// CheckLocksFree returns an error that names the first of the noted locks that another
// process holds now, so that no engine could restore it.
func (n Notes) CheckLocksFree() error {
	if len(n.Locks) == 0 {
		return nil
	}
	held, err := locksOfMachine()
	if err != nil {
		return err
	}
	for _, l := range n.Locks {
		for _, other := range held {
			if l.conflictsWith(other) {
				return fmt.Errorf("another process holds the lock of %s: %s", l.Path, other.holder())
			}
		}
	}
	return nil
}

// holder returns how an error names the process that holds the lock.
func (l fileLock) holder() string {
	name := procfs.ProcessName(l.pid)
	if l.pid <= 0 || name == "" {
		return "the kernel does not say which"
	}
	return fmt.Sprintf("%d (%s)", l.pid, name)
}
