package obstacles

import (
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"dormouse/hibernate/criu/kinds"
	"dormouse/internal/procfs"
)

// descriptorClassifier says of which kind the descriptors of one tree are.
type descriptorClassifier struct {
	pids   map[string]bool // of the tree
	mounts procfs.Mounts   // that the root sees
}

// newDescriptorClassifier returns a classifier for the tree.
func newDescriptorClassifier(treePIDs []int) *descriptorClassifier {
	return &descriptorClassifier{pidSet(treePIDs), procfs.ReadMounts(treePIDs[0])}
}

// Names of anonymous inodes, as /proc shows them.
const (
	inotifyTarget  = "anon_inode:inotify"
	fanotifyTarget = "anon_inode:[fanotify]"
)

// anonymousKinds are the kinds of the anonymous inodes that have a row, by the names that
// /proc shows.
var anonymousKinds = map[string]kinds.Kind{
	"anon_inode:[eventpoll]":        "epoll",
	"anon_inode:[fscontext]":        "mount-context",
	"anon_inode:[io_uring]":         "io_uring",
	"anon_inode:[landlock-ruleset]": "landlock-ruleset",
	"anon_inode:[perf_event]":       "perf_event",
	"anon_inode:[signalfd]":         "signalfd",
	"anon_inode:[userfaultfd]":      "userfaultfd",
	"anon_inode:bpf-link":           "bpf",
	"anon_inode:bpf-map":            "bpf",
	"anon_inode:bpf-prog":           "bpf",
	"anon_inode:btf":                "bpf",
	"anon_inode:seccomp notify":     "seccomp-listener",
}

// classify returns the kind of the descriptor, and a detail that follows the name of the
// kind in an error. A kind that no table has, such as "anon_inode:[foo]", is returned
// as the kernel names it.
func (c *descriptorClassifier) classify(d procfs.Descriptor) (kind kinds.Kind, detail string) {
	switch {
	case strings.HasPrefix(d.Target, "anon_inode:[eventfd]"):
		if strings.TrimSpace(d.InfoField("eventfd-semaphore")) == "1" {
			return "eventfd-semaphore", ""
		}
		return "eventfd", ""
	case d.Target == "anon_inode:[timerfd]":
		return classifyTimerfd(d), ""
	case d.Target == "anon_inode:[pidfd]":
		return c.classifyPidfd(d), ""
	case d.Target == inotifyTarget, d.Target == fanotifyTarget:
		return c.classifyWatches(d)
	case strings.HasPrefix(d.Target, "anon_inode:"):
		if kind, isKnown := anonymousKinds[d.Target]; isKnown {
			return kind, ""
		}
		return kinds.Kind(d.Target), ""
	case strings.HasPrefix(d.Target, "pipe:["):
		if d.OpenFlags()&unix.O_DIRECT != 0 {
			return "packet-pipe", ""
		}
		return "pipe", ""
	case d.SocketInode() != 0:
		return classifySocket(d)
	case strings.HasPrefix(d.Target, "/memfd:"):
		return "memfd", ""
	case strings.HasPrefix(d.Target, "/"):
		return c.classifyFile(d)
	}
	if kind, _, isNamed := strings.Cut(d.Target, ":["); isNamed && slices.Contains(namespaceKinds, kind) {
		return "namespace-file", ", " + d.Target
	}
	return kinds.Kind(d.Target), ""
}

// namespaceKinds are the kinds of namespaces, as /proc names open ones: "net:[4711]".
var namespaceKinds = []string{"cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts"}

// classifyTimerfd returns the kind of a timer descriptor.
func classifyTimerfd(d procfs.Descriptor) kinds.Kind {
	const realtimeAlarm, boottimeAlarm = "8", "9" // CLOCK_REALTIME_ALARM, CLOCK_BOOTTIME_ALARM
	if clock := d.InfoField("clockid"); clock == realtimeAlarm || clock == boottimeAlarm {
		return "alarm-timerfd"
	}
	return "timerfd"
}

// classifyPidfd returns the kind of a descriptor of a process or thread.
func (c *descriptorClassifier) classifyPidfd(d procfs.Descriptor) kinds.Kind {
	const ofThread = unix.O_EXCL // PIDFD_THREAD
	pid := d.InfoField("Pid")
	switch {
	case d.OpenFlags()&ofThread != 0:
		return "pidfd-thread"
	case pid != "-1" && !c.pids[pid]: // -1 if the process has ended
		return "pidfd-outside"
	}
	return "pidfd"
}

// classifyWatches returns the kind of an inotify or fanotify descriptor.
func (c *descriptorClassifier) classifyWatches(d procfs.Descriptor) (kind kinds.Kind, detail string) {
	for _, w := range d.Watches() {
		on, _ := c.mounts.OfDevice(w.Device)
		switch {
		case w.WholeFileSystem:
			return "fanotify-file-system", ""
		case on.FileSystem == "proc" || on.FileSystem == "sysfs":
			return "watch-of-kernel-file", " below " + on.Point
		case w.IsDeleted(on):
			return "watch-of-deleted-file", ""
		}
	}
	if d.Target == inotifyTarget {
		return "inotify", ""
	}
	return "fanotify", ""
}

// MaxDeletedFileSize is the size in bytes up to which CRIU puts a file that has no name any
// more into an image.
const MaxDeletedFileSize = 64 << 20

// classifyFile returns the kind of a descriptor that was opened by a path.
func (c *descriptorClassifier) classifyFile(d procfs.Descriptor) (kind kinds.Kind, detail string) {
	file, err := d.File()
	if err != nil {
		return "file", "" // closed meanwhile
	}
	detail = ", " + d.Target
	switch file.Type {
	case unix.S_IFCHR, unix.S_IFBLK:
		return classifyDevice(d, file), " " + d.Target
	case unix.S_IFIFO:
		if d.OpenFlags()&unix.O_PATH != 0 {
			return "path-of-socket", detail
		}
		return "fifo", ""
	case unix.S_IFSOCK: // such a file can be opened with O_PATH only
		return "path-of-socket", detail
	case unix.S_IFLNK: // likewise
		return "path", ""
	}
	on, isMounted := c.mounts.WithID(file.MountID)
	switch {
	case d.Target == "/secretmem (deleted)":
		return "secret-memory", ""
	case !isMounted: // such as a message queue
		return "foreign-mount", detail
	case on.FileSystem == "nsfs":
		return "namespace-file", detail
	case on.FileSystem == "proc":
		return c.classifyProcFile(d), detail
	case file.IsDeleted() && file.DiskSize > MaxDeletedFileSize:
		return "deleted-large", detail
	case file.Type == unix.S_IFDIR:
		return "directory", ""
	}
	return "file", ""
}

// classifyProcFile returns the kind of a descriptor of a file or directory below /proc.
func (c *descriptorClassifier) classifyProcFile(d procfs.Descriptor) kinds.Kind {
	pid, _, _ := strings.Cut(strings.TrimPrefix(d.Target, "/proc/"), "/")
	_, err := strconv.Atoi(pid)
	switch {
	case c.pids[pid]:
		return "proc-of-process"
	case err == nil:
		return "proc-of-other"
	}
	return "proc"
}

// classifyDevice returns the kind of an open device. The major numbers are from
// Documentation/admin-guide/devices.txt of the kernel.
func classifyDevice(d procfs.Descriptor, file procfs.File) kinds.Kind {
	const memory, console, terminal, misc, tunnel = 1, 4, 5, 10, 200
	major, minor := unix.Major(file.Device), unix.Minor(file.Device)
	switch {
	case file.Type == unix.S_IFBLK:
		return "device"
	case d.OpenFlags()&unix.O_PATH != 0:
		return "path"
	case major == memory && slices.Contains(memoryDevices, minor):
		return "memory-device"
	case major == console && minor == 0:
		return "current-terminal"
	case major == console, major == terminal:
		return "terminal"
	case 128 <= major && major <= 143: // both ends of pseudo terminals
		return "terminal"
	case major == misc && minor == tunnel:
		return "tunnel"
	}
	return "device"
}

// memoryDevices are the minor numbers of /dev/null, zero, full, random, urandom and kmsg.
var memoryDevices = []uint32{3, 5, 7, 8, 9, 11}
