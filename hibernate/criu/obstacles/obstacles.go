// Package obstacles finds what in a process tree CRIU cannot dump, or would bring back
// different. It looks at the processes through /proc and ptrace(2), and changes nothing.
// It does not know how CRIU is run, or what becomes of a tree with an obstacle.
package obstacles

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/internal/procfs"
)

// Finder finds obstacles. Its methods are those of hibernate.Engine: each takes the
// PIDs of a tree, the root first, and returns an ErrObstacle that names all obstacles,
// or an ErrPassing if each of them may be gone a moment later.
type Finder struct {
	// HelperDir is the directory in which the executable of the Landlock check's helper
	// process is installed.
	HelperDir  string
	landlocked landlockedThreads
}

// ObstaclesAnyTime returns an error for the obstacles that a running tree shows: its
// descriptors, mappings, namespaces, and what its processes share. See
// hibernate.Engine.
func (f *Finder) ObstaclesAnyTime(treePIDs []int) error {
	inTree := make(map[string]bool, len(treePIDs))
	for _, pid := range treePIDs {
		inTree[strconv.Itoa(pid)] = true
	}
	var found findings
	findProcessObstacles(treePIDs, &found)
	findSharedMemoryOrDirectory(treePIDs, &found)
	findOvercommitted(treePIDs, &found)
	f.landlocked.findKnownInTree(treePIDs, &found)
	mounts := procfs.MountIDs(treePIDs[0])
	for _, pid := range treePIDs {
		for _, d := range procfs.Descriptors(pid) {
			what, advice := describeUnsupportedDescriptor(d, inTree)
			if what == "" {
				what, advice = describeAlteredDescriptor(d)
			}
			if mount := d.MountID(); what == "" && mount != 0 && !mounts[mount] { // such as a message queue
				what, advice = "a file on a mount that is not the host's, "+d.Target, "close it in BeforeCheckpoint"
			}
			if what != "" {
				found.addOrMergeDescriptor(d, what, advice)
			}
		}
	}
	return found.asError()
}

// ObstaclesWhenQuiet returns an error for connections of a quiet tree to processes
// outside of it, and for unread data that CRIU would lose. See hibernate.Engine.
func (f *Finder) ObstaclesWhenQuiet(treePIDs []int) error {
	var found findings
	findTCPListenerObstacles(treePIDs, &found)
	sockets := make(map[uint32]procfs.Descriptor)
	var watches []procfs.Descriptor
	for _, pid := range treePIDs {
		for _, d := range procfs.Descriptors(pid) {
			if inode := d.SocketInode(); inode != 0 {
				sockets[inode] = d
				findUnreadNetlink(d, &found)
			}
			if d.Target == "anon_inode:inotify" || d.Target == "anon_inode:[fanotify]" {
				watches = append(watches, d)
			}
		}
	}
	awaitAndFindUnreadWatches(watches, &found)
	if len(sockets) == 0 {
		return found.asError()
	}
	if err := findUnixSocketObstacles(sockets, &found); err != nil {
		return err
	}
	return found.asError()
}

// findings are the obstacles found so far. Equal obstacles of one process are one
// finding.
type findings []*finding

// finding is one obstacle of one process, in the words of the error.
type finding struct {
	pid          int
	what, advice string
	fds          []string // its descriptors, none for an obstacle of the whole process
	passing      bool     // it may be gone a moment later
}

// addOrMergeDescriptor adds a finding and returns it: the open descriptor, described by what,
// is an obstacle. If the process has an equal finding it adds the descriptor to that.
func (all *findings) addOrMergeDescriptor(d procfs.Descriptor, what, advice string) *finding {
	fd := strconv.Itoa(d.FD)
	for _, f := range *all {
		if f.pid == d.PID && f.what == what {
			f.fds = append(f.fds, fd)
			return f
		}
	}
	f := all.addProcess(d.PID, what, advice)
	f.fds = []string{fd}
	return f
}

// addProcess adds a finding and returns it: a property of the whole process, described by
// what.
func (all *findings) addProcess(pid int, what, advice string) *finding {
	f := &finding{pid: pid, what: what, advice: advice}
	*all = append(*all, f)
	return f
}

// asError returns one ErrObstacle that names all findings, or an ErrPassing if all of them
// are passing; nil if there are none.
func (all findings) asError() error {
	if len(all) == 0 {
		return nil
	}
	texts := make([]string, len(all))
	for i, f := range all {
		what := f.what
		if len(f.fds) > 0 {
			what = fmt.Sprintf("has %s open as descriptor %s", f.what, strings.Join(f.fds, ", "))
		}
		texts[i] = fmt.Sprintf("process %d (%s) %s: %s", f.pid, procfs.ProcessName(f.pid), what, f.advice)
	}
	kind := hibernate.ErrPassing
	if slices.ContainsFunc(all, func(f *finding) bool { return !f.passing }) {
		kind = hibernate.ErrObstacle
	}
	return fmt.Errorf("%w: %s", kind, strings.Join(texts, "; "))
}

// supportedAnonymous are the anonymous inodes that CRIU dumps, as /proc names them.
var supportedAnonymous = []string{"[eventfd]", "[eventpoll]", "[fanotify]", "[pidfd]", "[signalfd]", "[timerfd]", "inotify"}

// anonymousAdvice says what to do about some of the anonymous inodes that CRIU cannot
// dump.
var anonymousAdvice = []struct{ target, advice string }{
	{"anon_inode:[io_uring]", "the program must do without io_uring (libuv: UV_USE_IO_URING=0)"},
	{"anon_inode:[perf_event]", "the program must close its performance counters first"},
	{"anon_inode:[userfaultfd]", "the program must do without userfaultfd"},
	{"anon_inode:[landlock-ruleset]", "the program must close it once it has restricted itself; and see docs/sleeping.md, Landlock"},
}

// protocolAdvice says what to do about the socket protocols that CRIU cannot dump.
var protocolAdvice = map[string]string{
	"MPTCP":    "the program must ask for plain TCP (Go: GODEBUG=multipathtcp=0)",
	"AF_VSOCK": "close it in BeforeCheckpoint and open it again in AfterRestore",
}

// describeUnsupportedDescriptor returns a name for the descriptor, and advice, if CRIU
// cannot dump it; otherwise "". The keys of treePIDs are the PIDs of the tree, as texts.
func describeUnsupportedDescriptor(d procfs.Descriptor, treePIDs map[string]bool) (what, advice string) {
	switch {
	case strings.HasPrefix(d.Target, "anon_inode:"):
		for _, a := range anonymousAdvice {
			if strings.HasPrefix(d.Target, a.target) {
				return a.target, a.advice
			}
		}
		if !slices.Contains(supportedAnonymous, d.Target[len("anon_inode:"):]) {
			return d.Target, "close it in BeforeCheckpoint and open it again in AfterRestore"
		}
	case strings.HasPrefix(d.Target, "/proc/"):
		pid, _, _ := strings.Cut(d.Target[len("/proc/"):], "/")
		if treePIDs[pid] {
			return d.Target, "its number is another after the wake: open such files only to read them at once"
		}
	case strings.HasPrefix(d.Target, "/dev/"):
		if number, ok := d.DeviceNumber(); ok && !isSupportedDevice(number) {
			return "the device " + d.Target, "close it in BeforeCheckpoint and open it again in AfterRestore"
		}
	case d.SocketInode() != 0:
		protocol := d.SocketProtocol()
		if advice, ok := protocolAdvice[protocol]; ok {
			return "a socket of protocol " + protocol, advice
		}
	}
	return "", ""
}

// isSupportedDevice reports whether CRIU dumps the device: memory devices such as
// /dev/null, terminals and tunnels. The major numbers are from
// Documentation/admin-guide/devices.txt of the kernel.
func isSupportedDevice(deviceNumber uint64) bool {
	const memory, console, terminal, misc, tunnel = 1, 4, 5, 10, 200
	major, minor := unix.Major(deviceNumber), unix.Minor(deviceNumber)
	switch {
	case major == memory, major == console, major == terminal:
		return true
	case 128 <= major && major <= 143: // both ends of pseudo terminals
		return true
	}
	return major == misc && minor == tunnel
}

// MaxDeletedFileSize is the size in bytes up to which CRIU puts a file that has no name any
// more into an image.
const MaxDeletedFileSize = 64 << 20

// describeAlteredDescriptor returns a name for the descriptor, and advice, if CRIU would
// restore it changed or not at all; otherwise "".
func describeAlteredDescriptor(d procfs.Descriptor) (what, advice string) {
	switch {
	case strings.HasPrefix(d.Target, "anon_inode:[eventfd]"):
		if strings.TrimSpace(d.InfoField("eventfd-semaphore")) == "1" {
			return "an eventfd that is a semaphore", "it would come back as a plain one: close it in BeforeCheckpoint"
		}
	case d.Target == "anon_inode:[timerfd]":
		const realtimeAlarm, boottimeAlarm = "8", "9" // CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM
		if clock := strings.TrimSpace(d.InfoField("clockid")); clock == realtimeAlarm || clock == boottimeAlarm {
			return "a timerfd that wakes the machine", "use CLOCK_REALTIME or CLOCK_BOOTTIME: a sleeping plugin is woken by calls only"
		}
	case strings.HasPrefix(d.Target, "pipe:["):
		if d.OpenFlags()&unix.O_DIRECT != 0 {
			return "a pipe in packet mode", "the program must do without O_DIRECT, or use a socket pair"
		}
	case strings.HasPrefix(d.Target, "/memfd:"): // memory, which never had a name
	case strings.HasSuffix(d.Target, " (deleted)"):
		if size, regular := d.DiskSizeIfDeleted(); regular && size > MaxDeletedFileSize {
			return "a large deleted file, " + d.Target, "close it in BeforeCheckpoint, or keep its name"
		}
	}
	return "", ""
}
