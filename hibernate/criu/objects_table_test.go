package criu_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/hibernate/criu/kinds"
)

var update = flag.Bool("update", false, "write the table into docs/sleeping.md")

// TestSleepingTable compares the table in docs/sleeping.md with the table of kinds.
func TestSleepingTable(t *testing.T) {
	const path, begin, end = "../../docs/sleeping.md", "<!-- table -->\n", "<!-- end of table -->\n"
	text, err := os.ReadFile(path)
	must(t, err)
	head, rest, ok := strings.Cut(string(text), begin)
	old, tail, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s has no place for the table", path)
	}
	table := formatTable(kinds.All())
	if *update {
		must(t, os.WriteFile(path, []byte(head+begin+table+end+tail), 0o644))
		return
	}
	if diff := cmp.Diff(table, old); diff != "" {
		t.Errorf("the table in %s is old (-want +got); go test ./hibernate/criu -run Table -update writes it:\n%s", path, diff)
	}
}

// formatTable returns the rows as the docs show them, those that ask most of a program first.
func formatTable(rows kinds.Table) string {
	var table strings.Builder
	table.WriteString("| in the plugin | across a sleep | what to do |\n| --- | --- | --- |\n")
	for _, fate := range []kinds.Fate{kinds.Lost, kinds.Refused, kinds.BroughtBack, kinds.ComesBack} {
		for _, r := range rows {
			if r.Fate == fate {
				fmt.Fprintf(&table, "| %s | %s | %s |\n", r.Text, r.Fate, r.Advice)
			}
		}
	}
	return table.String()
}

// TestObjectsHaveKinds checks that each row of the table is tried with an object, and that
// each object belongs to a row.
func TestObjectsHaveKinds(t *testing.T) {
	tried := make(map[kinds.Kind]bool)
	for _, o := range objects {
		row, isKnown := kinds.All().Find(o.kind)
		if !isKnown {
			t.Errorf("%s is of the kind %s, which has no row", o.name, o.kind)
		}
		if refused := row.Fate == kinds.Refused; refused && o.words == "" {
			t.Errorf("%s is refused, and no words of the error are wanted", o.name)
		}
		tried[o.kind] = true
	}
	for _, r := range kinds.All() {
		if !tried[r.Kind] && !triedElsewhere[r.Kind] {
			t.Errorf("no object of the kind %s is tried", r.Kind)
		}
	}
}

// triedElsewhere are the kinds that other tests try: they need two hosts, or a process
// outside of the tree.
var triedElsewhere = map[kinds.Kind]bool{
	"other-mounts":  true, // TestOtherMounts
	"unix-outside":  true, // TestObstaclesWhenQuiet
	"pidfd-outside": true, // TestPidfdOfOutside
}

// object is something that the C program in testdata/objects can set up.
type object struct {
	name  string // in the C program
	kind  kinds.Kind
	words string // that the error contains, if the kind is refused
}

var objects = []object{
	{name: "memory-devices", kind: "memory-device"},
	{name: "device", kind: "device", words: "the device /dev/fuse"},
	{name: "proc-self", kind: "proc-of-process", words: "/stat open as descriptor"},
	{name: "io_uring", kind: "io_uring", words: "io_uring"},
	{name: "userfaultfd", kind: "userfaultfd", words: "userfaultfd"},
	{name: "counter", kind: "perf_event", words: "a performance counter"},
	{name: "offset", kind: "file"},
	{name: "flags", kind: "file"},
	{name: "shared-offset", kind: "file"},
	{name: "deleted-small", kind: "file"},
	{name: "deleted-sparse", kind: "file"},
	{name: "tmpfile", kind: "file"},
	{name: "deleted-linked", kind: "file"},
	{name: "renamed", kind: "file"},
	{name: "deleted-in-tmp", kind: "file"},
	{name: "many-files", kind: "file"},
	{name: "deleted-large", kind: "deleted-large", words: "a large deleted file"},
	{name: "directory", kind: "directory"},
	{name: "o-path", kind: "path"},
	{name: "deleted-cwd", kind: "directories"},
	{name: "umask-cwd", kind: "directories"},
	{name: "chroot", kind: "directories"},
	{name: "flock", kind: "lock"},
	{name: "directory-lock", kind: "lock"},
	{name: "posix-lock", kind: "lock"},
	{name: "ofd-lock", kind: "lock"},
	{name: "lease", kind: "lock"},
	{name: "blocked-on-lock", kind: "lock"},
	{name: "pipe", kind: "pipe"},
	{name: "packet-pipe", kind: "packet-pipe", words: "a pipe in packet mode"},
	{name: "fifo", kind: "fifo"},
	{name: "eventfd", kind: "eventfd"},
	{name: "eventfd-semaphore", kind: "eventfd-semaphore", words: "an eventfd that is a semaphore"},
	{name: "epoll", kind: "epoll"},
	{name: "inotify", kind: "inotify"},
	{name: "inotify-queued", kind: "inotify-queued", words: "inotify with events to read"},
	{name: "fanotify", kind: "fanotify"},
	{name: "fanotify-queued", kind: "fanotify-queued", words: "fanotify with events to read"},
	{name: "signalfd", kind: "signalfd"},
	{name: "pidfd", kind: "pidfd"},
	{name: "pty", kind: "terminal"},
	{name: "pty-data", kind: "terminal"},
	{name: "controlling-terminal", kind: "terminal"},
	{name: "file-owner", kind: "descriptor-owner"},
	{name: "anon-shared", kind: "anonymous-shared"},
	{name: "futex", kind: "anonymous-shared"},
	{name: "robust-mutex", kind: "anonymous-shared"},
	{name: "memfd", kind: "memfd"},
	{name: "memfd-large", kind: "memfd"},
	{name: "memfd-unmapped", kind: "memfd"},
	{name: "memfd-mapped", kind: "memfd"},
	{name: "anon-shared-large", kind: "anonymous-shared"},
	{name: "dev-zero-shared", kind: "anonymous-shared"},
	{name: "shm-large", kind: "deleted-large", words: "a large deleted file, /dev/shm/"},
	{name: "shm-large-mapped", kind: "deleted-large-mapped", words: "has a large deleted file mapped, /dev/shm/"},
	{name: "deleted-large-mapped", kind: "deleted-large-mapped", words: "has a large deleted file mapped"},
	{name: "shm", kind: "shm"},
	{name: "file-shared", kind: "file-mapping"},
	{name: "file-rewritten", kind: "file-mapping"},
	{name: "private-file", kind: "file-mapping"},
	{name: "robust-mutex-free", kind: "file-mapping"},
	{name: "deleted-executable", kind: "file-mapping"},
	{name: "sysv-shm", kind: "sysv-shm", words: "System V shared memory"},
	{name: "mapped-counter", kind: "device-mapping", words: "memory of a device mapped, anon_inode:[perf_event]"},
	{name: "posix-mqueue", kind: "foreign-mount", words: "a file on a mount that is not the host's, /dormouse-"},
	{name: "aio", kind: "aio"},
	{name: "session-keyring", kind: "keyring"},
	{name: "sysv-sem", kind: "sysv-sem"},
	{name: "sysv-sem-released", kind: "sysv-sem"},
	{name: "sysv-sem-held", kind: "sysv-sem-undo", words: "holds a System V semaphore with SEM_UNDO, in the array"},
	{name: "sysv-sem-raised", kind: "sysv-sem-undo", words: "holds a System V semaphore with SEM_UNDO, in the array"},
	{name: "sysv-sem-thread", kind: "sysv-sem-undo", words: "holds a System V semaphore with SEM_UNDO, in the array"},
	{name: "sysv-msg", kind: "sysv-sem"},
	{name: "robust-mutex-file", kind: "robust-mutex-file", words: "holds a robust mutex in the file"},
	{name: "dontdump", kind: "advice"},
	{name: "dontfork", kind: "advice"},
	{name: "wipeonfork", kind: "advice"},
	{name: "mergeable", kind: "advice"},
	{name: "transparent-huge", kind: "advice"},
	{name: "mlock", kind: "advice"},
	{name: "guard-pages", kind: "advice"},
	{name: "mlockall-future", kind: "mlockall-future"},
	{name: "prot-none", kind: "anonymous"},
	{name: "many-mappings", kind: "anonymous"},
	{name: "generated-code", kind: "anonymous"},
	{name: "growsdown", kind: "anonymous"},
	{name: "brk", kind: "anonymous"},
	{name: "copy-on-write", kind: "anonymous"},
	{name: "overcommitted", kind: "overcommitted", words: "vm.overcommit_memory"},
	{name: "mseal", kind: "sealed", words: "has sealed memory"},
	{name: "threads", kind: "thread"},
	{name: "thread-attributes", kind: "thread"},
	{name: "name", kind: "thread"},
	{name: "grandchildren", kind: "family"},
	{name: "deep-tree", kind: "family"},
	{name: "many-children", kind: "family"},
	{name: "shell-script", kind: "family"},
	{name: "zombie", kind: "family"},
	{name: "stopped-child", kind: "family"},
	{name: "sessions", kind: "family"},
	{name: "orphan", kind: "family"},
	{name: "fork-exec-loop", kind: "family"},
	{name: "ptraced", kind: "traced", words: "is being traced"},
	{name: "user-namespace", kind: "namespace", words: "a namespace of its own, user:"},
	{name: "pid-namespace", kind: "namespace", words: "a namespace of its own, pid:"},
	{name: "mount-namespace", kind: "namespace", words: "a namespace of its own, mnt:"},
	{name: "net-namespace", kind: "namespace", words: "a namespace of its own, net:"},
	{name: "uts-namespace", kind: "namespace", words: "a namespace of its own, uts:"},
	{name: "ipc-namespace", kind: "namespace", words: "a namespace of its own, ipc:"},
	{name: "cgroup-namespace", kind: "namespace", words: "a namespace of its own, cgroup:"},
	{name: "time-namespace", kind: "namespace", words: "a namespace of its own, time:"},
	{name: "vfork", kind: "vfork", words: "in a vfork"},
	{name: "shared-descriptors", kind: "shared-descriptors"},
	{name: "shared-directory", kind: "shared-directory", words: "shares its working directory with process"},
	{name: "shared-memory-child", kind: "shared-memory", words: "shares its memory with process"},
	{name: "rlimits", kind: "limits"},
	{name: "nice", kind: "scheduling"},
	{name: "sched-batch", kind: "scheduling"},
	{name: "sched-fifo", kind: "scheduling"},
	{name: "ioprio", kind: "scheduling"},
	{name: "affinity", kind: "scheduling"},
	{name: "timer-slack", kind: "scheduling"},
	{name: "oom-score-adj", kind: "process-settings"},
	{name: "coredump-filter", kind: "process-settings"},
	{name: "dumpable", kind: "process-settings"},
	{name: "parent-death-signal", kind: "process-settings"},
	{name: "subreaper", kind: "process-settings"},
	{name: "thp-disable", kind: "process-settings"},
	{name: "no-new-privs", kind: "rights"},
	{name: "seccomp-filters", kind: "rights"},
	{name: "capabilities", kind: "rights"},
	{name: "securebits", kind: "rights"},
	{name: "other-user", kind: "other-user", words: "runs as another user"},
	{name: "landlock", kind: "landlock", words: "has the Landlock domain of thread"},
	{name: "landlock-child", kind: "landlock", words: "has the Landlock domain of thread"},
	{name: "landlock-thread", kind: "landlock", words: "has the Landlock domain of thread"},
	{name: "landlock-seccomp", kind: "landlock", words: "has the Landlock domain of thread"},
	{name: "landlock-ruleset", kind: "landlock-ruleset", words: "a Landlock ruleset"},
	{name: "cgroup-leaf", kind: "cgroup", words: "in a cgroup of its own"},
	{name: "mdwe", kind: "mdwe", words: "has PR_SET_MDWE"},
	{name: "personality", kind: "personality", words: "has another personality"},
	{name: "signals", kind: "signals"},
	{name: "stream-pair", kind: "unix"},
	{name: "seqpacket-pair", kind: "unix"},
	{name: "dgram-pair", kind: "unix"},
	{name: "pair-with-child", kind: "unix"},
	{name: "half-closed", kind: "unix"},
	{name: "rights-in-flight", kind: "unix"},
	{name: "rights-in-flight-dgram", kind: "unix"},
	{name: "unix-listener", kind: "unix"},
	{name: "unix-accepted", kind: "unix"},
	{name: "unix-abstract", kind: "unix"},
	{name: "dgram-named", kind: "unix"},
	{name: "socket-options", kind: "unix"},
	{name: "unix-pending", kind: "unix-waiting", words: "with a connection that it has not accepted"},
	{name: "tcp-listener", kind: "tcp"},
	{name: "tcp6-listener", kind: "tcp"},
	{name: "tcp-connection", kind: "tcp"},
	{name: "mptcp", kind: "mptcp", words: "protocol MPTCP"},
	{name: "tcp-connection-no-reuse", kind: "tcp-no-reuse", words: "its own listening TCP port"},
	{name: "tcp-backlog", kind: "tcp-waiting", words: "with connections that it has not accepted"},
	{name: "udp", kind: "udp"},
	{name: "udp-data", kind: "udp-unread"},
	{name: "raw", kind: "raw"},
	{name: "packet", kind: "packet"},
	{name: "vsock", kind: "vsock", words: "protocol AF_VSOCK"},
	{name: "netlink", kind: "netlink"},
	{name: "netlink-data", kind: "netlink-unread", words: "a netlink socket with messages to read"},
	{name: "socket-settings", kind: "socket-option"},
	{name: "socket-filter", kind: "socket-option"},
	{name: "socket-program", kind: "socket-program", words: "a socket with a BPF program"},
	{name: "fastopen-key", kind: "unreadable-option"},
	{name: "socket-under-way", kind: "options-in-flight"},
	{name: "datagrams-told", kind: "socket-option"},
	{name: "queued-errors", kind: "socket-option"},
	{name: "defer-accept", kind: "socket-option"},
	{name: "multicast", kind: "multicast"},
	{name: "multicast-sources", kind: "multicast"},
	{name: "multicast-blocked-source", kind: "multicast"},
	{name: "multicast-by-index", kind: "multicast"},
	{name: "multicast6", kind: "multicast"},
	{name: "timer-create", kind: "timer"},
	{name: "timer-create-wall", kind: "timer"},
	{name: "timer-create-cpu", kind: "timer"},
	{name: "setitimer", kind: "timer"},
	{name: "timerfd", kind: "timerfd"},
	{name: "timerfd-ticking", kind: "timerfd"},
	{name: "timerfd-first", kind: "timerfd"},
	{name: "timerfd-unread", kind: "ticking-timerfd"},
	{name: "timerfd-slow", kind: "ticking-timerfd"},
	{name: "timerfd-wall-deadline", kind: "absolute-timerfd"},
	{name: "timerfd-absolute", kind: "absolute-timerfd"},
	{name: "timerfd-absolute-far", kind: "absolute-timerfd"},
	{name: "timerfd-wall-ticks", kind: "absolute-timerfd"},
	{name: "timerfd-cancel", kind: "absolute-timerfd"},
	{name: "timerfd-boottime", kind: "timerfd"},
	{name: "timerfd-alarm", kind: "alarm-timerfd", words: "a timerfd that wakes the machine"},
	{name: "nanosleep", kind: "sleeping-thread"},
	{name: "poll-timeout", kind: "sleeping-thread"},
	{name: "monotonic-clock", kind: "clock"},
	{name: "net-namespace-file", kind: "namespace-file", words: "a namespace file, "},
	{name: "mount-namespace-file", kind: "namespace-file", words: "a namespace file, "},
	{name: "pid-namespace-file", kind: "namespace-file", words: "a namespace file, "},
	{name: "proc-other", kind: "proc-of-other", words: "outside of the plugin, /proc/2"},
	{name: "proc-other-directory", kind: "proc-of-other", words: "outside of the plugin, /proc/2"},
	{name: "proc", kind: "proc"},
	{name: "proc-directory", kind: "proc"},
	{name: "sys", kind: "proc"},
	{name: "cgroup-file", kind: "proc"},
	{name: "proc-mountinfo", kind: "proc-of-process", words: "/mountinfo open"},
	{name: "kmsg", kind: "memory-device"},
	{name: "tty0", kind: "current-terminal", words: "the device /dev/tty0"},
	{name: "console", kind: "terminal"},
	{name: "block-device", kind: "device", words: "the device /dev/"},
	{name: "kvm", kind: "device", words: "the device /dev/"},
	{name: "tunnel", kind: "tunnel", words: "the device /dev/net/tun"},
	{name: "tunnel-idle", kind: "tunnel", words: "the device /dev/net/tun"},
	{name: "bpf-map", kind: "bpf", words: "a BPF object"},
	{name: "seccomp-listener", kind: "seccomp-listener", words: "the listener of a seccomp filter"},
	{name: "file-context", kind: "mount-context", words: "fsopen"},
	{name: "detached-mount", kind: "foreign-mount", words: "a file on a mount that is not the host's"},
	{name: "o-path-link", kind: "path"},
	{name: "o-path-device", kind: "path"},
	{name: "o-path-socket", kind: "path-of-socket", words: "(O_PATH)"},
	{name: "o-path-fifo", kind: "path-of-socket", words: "(O_PATH)"},
	{name: "deleted-directory", kind: "directory"},
	{name: "directory-position", kind: "directory"},
	{name: "deleted-fifo", kind: "fifo"},
	{name: "o-direct", kind: "file"},
	{name: "tmpfs-file", kind: "file"},
	{name: "inotify-proc", kind: "watch-of-kernel-file", words: "a watch of a file below /"},
	{name: "inotify-sys", kind: "watch-of-kernel-file", words: "a watch of a file below /"},
	{name: "inotify-cgroup", kind: "inotify"},
	{name: "inotify-deleted", kind: "watch-of-deleted-file", words: "a watch of a deleted file"},
	{name: "fanotify-mount", kind: "fanotify"},
	{name: "fanotify-file-system", kind: "fanotify-file-system", words: "a whole file system"},
	{name: "epoll-duplicate", kind: "epoll"},
	{name: "epoll-oneshot", kind: "epoll"},
	{name: "epoll-nested", kind: "epoll"},
	{name: "pidfd-self", kind: "pidfd"},
	{name: "pidfd-dead", kind: "pidfd"},
	{name: "pidfd-thread", kind: "pidfd-thread", words: "a pidfd of a thread"},
	{name: "dnotify", kind: "dnotify"},
	{name: "async-socket", kind: "descriptor-owner"},
	{name: "thread-net-namespace", kind: "thread-namespace", words: "has a thread with a namespace of its own, "},
	{name: "thread-uts-namespace", kind: "thread-namespace", words: "has a thread with a namespace of its own, "},
	{name: "thread-ipc-namespace", kind: "thread-namespace", words: "has a thread with a namespace of its own, "},
	{name: "thread-cgroup-namespace", kind: "thread-namespace", words: "has a thread with a namespace of its own, "},
	{name: "thread-mount-namespace", kind: "thread-namespace", words: "has a thread with a namespace of its own, "},
	{name: "thread-directory", kind: "thread-directory", words: "has a thread with a working directory"},
	{name: "thread-umask", kind: "thread-directory", words: "has a thread with a working directory"},
	{name: "thread-descriptors", kind: "thread-descriptors", words: "has a thread with descriptors"},
	{name: "thread-user", kind: "rights"},
	{name: "thread-seccomp", kind: "rights"},
	{name: "thread-strict-seccomp", kind: "rights"},
	{name: "thread-no-new-privs", kind: "rights"},
	{name: "thread-capabilities", kind: "rights"},
	{name: "thread-personality", kind: "thread-personality", words: "has a thread with a personality"},
	{name: "thread-name", kind: "thread"},
	{name: "thread-parent-death-signal", kind: "thread"},
	{name: "thread-signals", kind: "thread"},
	{name: "membarrier", kind: "thread"},
	{name: "sched-deadline", kind: "sched-deadline", words: "SCHED_DEADLINE for thread"},
	{name: "sched-rr", kind: "scheduling"},
	{name: "sched-idle", kind: "scheduling"},
	{name: "sched-reset-on-fork", kind: "scheduling"},
	{name: "sched-slice", kind: "sched-slice"},
	{name: "tsc", kind: "thread-settings"},
	{name: "cpuid", kind: "thread-settings"},
	{name: "io-flusher", kind: "thread-settings"},
	{name: "machine-check", kind: "thread-settings"},
	{name: "memory-merge", kind: "memory-merge"},
	{name: "syscall-dispatch", kind: "syscall-dispatch", words: "has its system calls dispatched"},
	{name: "memory-policy", kind: "memory-policy"},
	{name: "bound-memory", kind: "memory-policy"},
	{name: "process-keyring", kind: "keyring"},
	{name: "thread-keyring", kind: "keyring"},
	{name: "autogroup", kind: "autogroup"},
	{name: "exit-signal", kind: "exit-signal", words: "another signal than SIGCHLD, 10"},
	{name: "ended-leader", kind: "ended-leader", words: "has ended its first thread"},
	{name: "processor-time", kind: "processor-time"},
	{name: "old-program", kind: "32-bit", words: "is a 32-bit program"},
	{name: "tracing-child", kind: "traced", words: "is being traced"},
	{name: "unix-renamed", kind: "unix-renamed", words: "whose file was renamed, "},
	{name: "unix-moved-directory", kind: "unix-renamed", words: "whose file was renamed, "},
	{name: "unix-unlinked", kind: "unix"},
	{name: "unix-rebound", kind: "unix"},
	{name: "unix-other-cwd", kind: "unix"},
	{name: "unix-owner", kind: "unix"},
	{name: "unix-bound", kind: "unix"},
	{name: "unix-fresh", kind: "unix"},
	{name: "unix-credentials", kind: "unix"},
	{name: "rights-cycle", kind: "unix"},
	{name: "unix-linked", kind: "unix-linked", words: "has a second name, /"},
	{name: "unix-urgent", kind: "unix-urgent"},
	{name: "unix-accepted-credentials", kind: "other-user", words: "runs as another user"},
	{name: "udp6", kind: "udp"},
	{name: "udp-half-closed", kind: "udp"},
	{name: "udplite", kind: "udp"},
	{name: "udp-corked", kind: "udp-corked", words: "a corked UDP socket"},
	{name: "udp-cork-idle", kind: "udp-corked", words: "a corked UDP socket"},
	{name: "tcp-fresh", kind: "tcp"},
	{name: "tcp-bound", kind: "tcp"},
	{name: "tcp-syn", kind: "tcp"},
	{name: "tcp-wildcard", kind: "tcp"},
	{name: "raw6", kind: "raw"},
	{name: "raw-packet", kind: "raw"},
	{name: "xdp", kind: "xdp", words: "protocol XDP"},
	{name: "packet-bound", kind: "packet"},
	{name: "packet-ring", kind: "packet"},
	{name: "packet-ring-mapped", kind: "packet"},
	{name: "packet-promiscuous", kind: "packet"},
	{name: "netlink-high-group", kind: "netlink-high-group", words: "above 32"},
	{name: "netlink-group", kind: "netlink"},
	{name: "netlink-diag", kind: "netlink"},
	{name: "netlink-audit", kind: "netlink"},
	{name: "netlink-uevent", kind: "netlink"},
	{name: "netlink-generic", kind: "netlink"},
	{name: "netlink-xfrm", kind: "netlink"},
	{name: "netlink-netfilter", kind: "netlink"},
	{name: "netlink-connector", kind: "netlink"},
	{name: "netlink-unbound", kind: "netlink"},
	{name: "no-huge-pages", kind: "advice"},
	{name: "random-access", kind: "advice"},
	{name: "sequential-access", kind: "advice"},
	{name: "no-reserve", kind: "advice"},
	{name: "droppable", kind: "advice"},
	{name: "mlock-on-fault", kind: "mlock-on-fault"},
	{name: "huge", kind: "huge"},
	{name: "huge-shared", kind: "huge"},
	{name: "memfd-huge", kind: "huge"},
	{name: "secret-memory", kind: "secret-memory", words: "secret memory (memfd_secret) open"},
	{name: "secret-memory-mapped", kind: "secret-memory-mapped", words: "has secret memory mapped"},
	{name: "memfd-no-exec", kind: "memfd"},
	{name: "memfd-mapping", kind: "memfd"},
	{name: "deleted-mapping", kind: "file-mapping"},
	{name: "shrunk-file", kind: "file-mapping"},
	{name: "zero-shared", kind: "anonymous-shared"},
	{name: "zero-private", kind: "anonymous"},
	{name: "exec-only", kind: "anonymous"},
	{name: "aio-again", kind: "aio"},
	{name: "vdso", kind: "kernel-memory"},
}
