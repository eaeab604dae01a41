package criu_test

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the table into docs/sleeping.md")

// TestSleepingTable compares the table in docs/sleeping.md with the table of the tests.
func TestSleepingTable(t *testing.T) {
	const path, begin, end = "../../docs/sleeping.md", "<!-- table -->\n", "<!-- end of table -->\n"
	text, err := os.ReadFile(path)
	must(t, err)
	head, rest, ok := strings.Cut(string(text), begin)
	old, tail, ended := strings.Cut(rest, end)
	if !ok || !ended {
		t.Fatalf("%s has no place for the table", path)
	}
	var table strings.Builder
	table.WriteString("| in the plugin | across a sleep |\n| --- | --- |\n")
	for _, kind := range []outcome{lost, named, refused, back} {
		for _, o := range objects {
			if o.outcome == kind {
				fmt.Fprintf(&table, "| %s | %s |\n", o.text, o.outcome)
			}
		}
	}
	if *update {
		must(t, os.WriteFile(path, []byte(head+begin+table.String()+end+tail), 0o644))
		return
	}
	if diff := cmp.Diff(table.String(), old); diff != "" {
		t.Errorf("the table in %s is old (-want +got); go test ./hibernate/criu -run Table -update writes it:\n%s", path, diff)
	}
}

// outcome is what a sleep does to an object.
type outcome string

const (
	back    outcome = "comes back"
	named   outcome = "refused, named"
	refused outcome = "refused"
	lost    outcome = "lost"
)

// object is a row of the table in docs/sleeping.md.
type object struct {
	name    string // in the C program
	text    string // in the docs
	outcome outcome
	words   string // that the error contains
}

var objects = []object{
	{"offset", "a file's position", back, ""},
	{"flags", "flags of descriptors: append, close-on-exec", back, ""},
	{"shared-offset", "an open file that processes share", back, ""},
	{"deleted-small", "a deleted file up to 64 MiB", back, ""},
	{"deleted-large", "a deleted file larger than 64 MiB", named, "a large deleted file"},
	{"deleted-sparse", "a deleted sparse file; its holes do not count", back, ""},
	{"tmpfile", "a file made with O_TMPFILE", back, ""},
	{"deleted-linked", "a file deleted under the name it was opened by, with another left", back, ""},
	{"renamed", "a file renamed since", back, ""},
	{"directory", "a directory", back, ""},
	{"o-path", "a descriptor made with O_PATH", back, ""},
	{"deleted-cwd", "a working directory that was deleted", back, ""},
	{"deleted-in-tmp", "a deleted file in /tmp", back, ""},
	{"flock", "flock", back, ""},
	{"posix-lock", "fcntl locks", back, ""},
	{"ofd-lock", "open file description locks", back, ""},
	{"lease", "leases of files", back, ""},
	{"blocked-on-lock", "a thread that waits for a lock", back, ""},
	{"pipe", "pipes with data in them and their size", back, ""},
	{"packet-pipe", "pipes in packet mode", named, "a pipe in packet mode"},
	{"fifo", "named pipes with data in them", back, ""},
	{"eventfd", "eventfd", back, ""},
	{"eventfd-semaphore", "eventfd as a semaphore", named, "an eventfd that is a semaphore"},
	{"epoll", "epoll", back, ""},
	{"inotify", "inotify watches; changes during the sleep cause no event, so read the files again in `AfterRestore`", back, ""},
	{"inotify-queued", "inotify events not yet read", named, "anon_inode:inotify with events to read"},
	{"fanotify", "fanotify marks; the same as for inotify", back, ""},
	{"fanotify-queued", "fanotify events not yet read", named, "anon_inode:[fanotify] with events to read"},
	{"signalfd", "signalfd with a signal pending", back, ""},
	{"pidfd", "pidfd of a process of the tree", back, ""},
	{"pty", "pseudo terminals and their size", back, ""},
	{"pty-data", "data in pseudo terminals", back, ""},
	{"controlling-terminal", "a pseudo terminal as the controlling terminal of a child", back, ""},
	{"many-files", "5,000 open files", back, ""},
	{"file-owner", "owner and signal of a descriptor", back, ""},
	{"anon-shared", "anonymous shared memory", back, ""},
	{"memfd", "memfd, its seals, shared with a child", back, ""},
	{"shm", "memory made by shm_open, shared with a child, its name deleted", back, ""},
	{"file-shared", "a shared mapping of a file", back, ""},
	{"sysv-shm", "System V shared memory", named, "System V shared memory"},
	{"mapped-counter", "a performance counter that is mapped", named, "anon_inode:[perf_event] mapped"},
	{"posix-mqueue", "POSIX message queues", named, "a file on a mount that is not the host's, /dormouse-"},
	{"aio", "contexts of asynchronous I/O (io_setup)", back, ""},
	{"session-keyring", "a session keyring of its own: the process wakes up in the host's; join it again in `AfterRestore`", lost, ""},
	{"sysv-sem", "System V semaphores: they are the host's and stay where they are", back, ""},
	{"sysv-msg", "System V message queues: they are the host's and stay where they are", back, ""},
	{"futex", "a futex that another process waits on", back, ""},
	{"robust-mutex", "a robust mutex in anonymous shared memory, held by another process", back, ""},
	{"robust-mutex-file", "a robust mutex in a shared file that a process holds", refused, "holds a robust mutex in the file"},
	{"robust-mutex-free", "a robust mutex in a shared file that no thread holds", back, ""},
	{"private-file", "a private mapping of a file with changed pages", back, ""},
	{"dontdump", "MADV_DONTDUMP, contents included", back, ""},
	{"dontfork", "MADV_DONTFORK", back, ""},
	{"wipeonfork", "MADV_WIPEONFORK", back, ""},
	{"mergeable", "MADV_MERGEABLE", back, ""},
	{"transparent-huge", "MADV_HUGEPAGE", back, ""},
	{"mlock", "mlock", back, ""},
	{"mlockall-future", "mlockall(MCL_FUTURE): call it again in `AfterRestore`", lost, ""},
	{"prot-none", "memory that may not be accessed", back, ""},
	{"guard-pages", "pages made by MADV_GUARD_INSTALL", back, ""},
	{"many-mappings", "16,000 mappings", back, ""},
	{"mseal", "mseal", refused, "has sealed memory"},
	{"generated-code", "generated code", back, ""},
	{"growsdown", "MAP_GROWSDOWN", back, ""},
	{"brk", "the heap", back, ""},
	{"copy-on-write", "memory shared with a child by fork", back, ""},
	{"threads", "500 threads with their own variables", back, ""},
	{"grandchildren", "children and grandchildren, with pipes between them", back, ""},
	{"deep-tree", "100 processes, each a child of the previous process", back, ""},
	{"many-children", "200 children", back, ""},
	{"shell-script", "a shell script with a pipe to it and one from it", back, ""},
	{"zombie", "a child that ended and was not waited for, with its status", back, ""},
	{"stopped-child", "a stopped child, still stopped", back, ""},
	{"ptraced", "a child under a debugger", named, "is being traced"},
	{"user-namespace", "a user namespace of a child", named, "a namespace of its own, user:"},
	{"pid-namespace", "a PID namespace of a child", named, "a namespace of its own, pid:"},
	{"mount-namespace", "a mount namespace of a child", named, "a namespace of its own, mnt:"},
	{"net-namespace", "a network namespace of a child", named, "a namespace of its own, net:"},
	{"uts-namespace", "a UTS namespace of a child", named, "a namespace of its own, uts:"},
	{"ipc-namespace", "an IPC namespace of a child", named, "a namespace of its own, ipc:"},
	{"cgroup-namespace", "a cgroup namespace of a child", named, "a namespace of its own, cgroup:"},
	{"time-namespace", "a time namespace of a child", named, "a namespace of its own, time:"},
	{"chroot", "a child in a chroot", back, ""},
	{"sessions", "sessions and process groups", back, ""},
	{"orphan", "an orphan, child of pid 1", back, ""},
	{"fork-exec-loop", "a child that forks and executes all the time", back, ""},
	{"vfork", "a vfork that lasts", named, "in a vfork"},
	{"deleted-executable", "a program whose file was deleted", back, ""},
	{"shared-descriptors", "processes that share one descriptor table (CLONE_FILES)", back, ""},
	{"shared-directory", "processes that share their working directory (CLONE_FS)", named, "shares its working directory with process"},
	{"shared-memory-child", "processes that share their memory (CLONE_VM)", named, "shares its memory with process"},
	{"rlimits", "resource limits", back, ""},
	{"nice", "nice", back, ""},
	{"sched-batch", "SCHED_BATCH", back, ""},
	{"sched-fifo", "SCHED_FIFO and its priority", back, ""},
	{"ioprio", "I/O priority", back, ""},
	{"affinity", "processor affinity", back, ""},
	{"thread-attributes", "policy, nice and affinity of a single thread", back, ""},
	{"timer-slack", "timer slack", back, ""},
	{"oom-score-adj", "oom_score_adj", back, ""},
	{"no-new-privs", "no_new_privs", back, ""},
	{"seccomp-filters", "seccomp filters that the plugin has set", back, ""},
	{"capabilities", "capabilities, all five sets", back, ""},
	{"securebits", "securebits", back, ""},
	{"other-user", "a child that runs as another user, where the host lacks CAP_SYS_RESOURCE", named, "runs as another user"},
	{"landlock", "a Landlock domain, see below", refused, "has the Landlock domain of thread"},
	{"landlock-child", "a Landlock domain of a child without capabilities", refused, "has the Landlock domain of thread"},
	{"landlock-thread", "a Landlock domain of a single thread", refused, "has the Landlock domain of thread"},
	{"landlock-seccomp", "a Landlock domain of a process whose seccomp filter kills it when the host looks for the domain", refused, "has the Landlock domain of thread"},
	{"landlock-ruleset", "a Landlock ruleset that is open", named, "landlock-ruleset"},
	{"cgroup-leaf", "a child in a cgroup of its own", named, "in a cgroup of its own"},
	{"umask-cwd", "umask and working directory", back, ""},
	{"name", "the name of a process", back, ""},
	{"dumpable", "PR_SET_DUMPABLE", back, ""},
	{"parent-death-signal", "PR_SET_PDEATHSIG", back, ""},
	{"subreaper", "PR_SET_CHILD_SUBREAPER", back, ""},
	{"thp-disable", "PR_SET_THP_DISABLE", back, ""},
	{"mdwe", "PR_SET_MDWE", refused, "has PR_SET_MDWE"},
	{"coredump-filter", "coredump_filter", back, ""},
	{"personality", "personality(2) other than the host's", named, "has another personality"},
	{"signals", "handlers, blocked and queued signals, the signal stack", back, ""},
	{"stream-pair", "a stream socket pair with data in it", back, ""},
	{"seqpacket-pair", "a seqpacket socket pair with packets in it", back, ""},
	{"dgram-pair", "a datagram socket pair with datagrams in it", back, ""},
	{"pair-with-child", "a socket pair between processes", back, ""},
	{"half-closed", "a socket pair that is closed one way", back, ""},
	{"rights-in-flight", "descriptors in flight (SCM_RIGHTS), stream", back, ""},
	{"rights-in-flight-dgram", "descriptors in flight (SCM_RIGHTS), datagram", back, ""},
	{"unix-listener", "a listening unix socket", back, ""},
	{"unix-pending", "a unix connection that was not accepted yet, with data in it", named, "with a connection that it has not accepted"},
	{"unix-accepted", "unix connections by name within the tree, with data in them", back, ""},
	{"unix-abstract", "abstract unix sockets", back, ""},
	{"dgram-named", "named datagram sockets with datagrams in them", back, ""},
	{"socket-options", "options and buffer sizes of unix sockets", back, ""},
	{"tcp-listener", "a listening TCP socket", back, ""},
	{"tcp6-listener", "a listening TCP socket, IPv6", back, ""},
	{"mptcp", "MPTCP sockets (Go: the host sets `GODEBUG=multipathtcp=0`)", named, "protocol MPTCP"},
	{"tcp-connection", "TCP connections come back closed: reads end, writes fail; the listening socket works on", back, ""},
	{"tcp-connection-no-reuse", "a TCP connection to a listening socket of the tree without SO_REUSEADDR", named, "its own listening TCP port"},
	{"tcp-backlog", "a TCP connection that was not accepted yet", named, "with connections that it has not accepted"},
	{"udp", "UDP sockets, bound and connected", back, ""},
	{"udp-data", "UDP datagrams not yet read: they are lost, as any datagram may be", lost, ""},
	{"raw", "raw sockets", back, ""},
	{"packet", "packet sockets", back, ""},
	{"vsock", "vsock sockets", named, "AF_VSOCK"},
	{"netlink", "netlink sockets and their groups", back, ""},
	{"netlink-data", "netlink messages not yet read", named, "a netlink socket with messages to read"},
	{"timer-create", "timer_create: goes on with the time that was left", back, ""},
	{"timer-create-wall", "timer_create in wall time: goes on with the time that was left", back, ""},
	{"timer-create-cpu", "timer_create in processor time", back, ""},
	{"setitimer", "setitimer, all three", back, ""},
	{"timerfd", "timerfd: goes on with the time that was left", back, ""},
	{"timerfd-ticking", "a ticking timerfd: no burst after the sleep", back, ""},
	{"nanosleep", "a thread in nanosleep: goes on, or ends with EINTR as after a signal", back, ""},
	{"poll-timeout", "a thread in poll with a timeout: likewise", back, ""},
	{"monotonic-clock", "monotonic time stands still, wall time does not", back, ""},
	{"timerfd-wall-deadline", "an absolute timerfd deadline in wall time: fires, but up to a second early or late by the sleep", back, ""},
}
