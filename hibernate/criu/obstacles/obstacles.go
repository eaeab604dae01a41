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

// Finder finds obstacles, see hibernate.Engine.
type Finder struct {
	// Programs is the directory for the program that it starts beside a tree.
	Programs string
	confined confined
}

// taken are kernel objects that CRIU has an image of, by what /proc calls them.
var taken = []string{"[eventfd]", "[eventpoll]", "[fanotify]", "[pidfd]", "[signalfd]", "[timerfd]", "inotify"}

// anonymous are some of the others, and how to do without.
var anonymous = []struct{ target, mend string }{
	{"anon_inode:[io_uring]", "the program must do without io_uring (libuv: UV_USE_IO_URING=0)"},
	{"anon_inode:[perf_event]", "the program must close its performance counters first"},
	{"anon_inode:[userfaultfd]", "the program must do without userfaultfd"},
	{"anon_inode:[landlock-ruleset]", "the program must close it once it has restricted itself; and see docs/sleeping.md, Landlock"},
}

// protocols are kinds of sockets that CRIU has no image of.
var protocols = map[string]string{
	"MPTCP":    "the program must ask for plain TCP (Go: GODEBUG=multipathtcp=0)",
	"AF_VSOCK": "close it in BeforeCheckpoint and open it again in AfterRestore",
}

// ObstaclesAnyTime names what the processes have open that CRIU is sure to refuse, or
// to fail on when they wake. See hibernate.Engine.
func (f *Finder) ObstaclesAnyTime(tree []int) error {
	inside := make(map[string]bool, len(tree))
	for _, pid := range tree {
		inside[strconv.Itoa(pid)] = true
	}
	var found findings
	processObstacles(tree, &found)
	sharingObstacles(tree, &found)
	f.confined.find(tree, &found)
	mounts := procfs.Mounts(tree[0])
	for _, pid := range tree {
		for _, d := range procfs.Descriptors(pid) {
			what, mend := obstacle(d, inside)
			if what == "" {
				what, mend = unlike(d)
			}
			if at := d.Mount(); what == "" && at != 0 && !mounts[at] {
				what, mend = "a file on a mount that is not the host's, "+d.Target, "close it in BeforeCheckpoint" // a message queue is one
			}
			if what != "" {
				found.add(d, what, mend)
			}
		}
	}
	return found.err()
}

// ObstaclesWhenQuiet names connections to processes outside of the tree, and what they hold
// that nobody has read. See hibernate.Engine.
func (f *Finder) ObstaclesWhenQuiet(tree []int) error {
	var found findings
	stuckConnections(tree, &found)
	sockets := make(map[uint32]procfs.Descriptor)
	var watches []procfs.Descriptor
	for _, pid := range tree {
		for _, d := range procfs.Descriptors(pid) {
			if inode := d.Socket(); inode != 0 {
				sockets[inode] = d
				unread(d, &found)
			}
			if watchesFiles(d) {
				watches = append(watches, d)
			}
		}
	}
	unheard(watches, &found)
	if len(sockets) == 0 {
		return found.err()
	}
	all, err := procfs.UnixSockets()
	if err != nil {
		return err
	}
	for inode, d := range sockets {
		unaccepted(d, all, &found)
		s, isUnix := all[inode]
		if !isUnix || s.Peer == 0 {
			continue
		}
		if _, within := sockets[s.Peer]; within {
			continue
		}
		what := "a unix connection to a process outside of the plugin"
		if name := all[s.Peer].Name; name != "" {
			what += ", at " + name
		} else if holder := procfs.HolderOf(s.Peer); holder != 0 {
			what += fmt.Sprintf(", %d (%s)", holder, procfs.Command(holder))
		}
		found.add(d, what, "close it in BeforeCheckpoint and connect again in AfterRestore")
	}
	return found.err()
}

// findings are what was found, each thing of a process once.
type findings []*finding

type finding struct {
	pid        int
	what, mend string
	fds        []string
	passes     bool // by itself
}

func (all *findings) add(d procfs.Descriptor, what, mend string) *finding {
	fd := strconv.Itoa(d.FD)
	for _, f := range *all {
		if f.pid == d.PID && f.what == what {
			f.fds = append(f.fds, fd)
			return f
		}
	}
	f := all.note(d.PID, what, mend)
	f.fds = []string{fd}
	return f
}

// note is about a process as a whole.
func (all *findings) note(pid int, what, mend string) *finding {
	f := &finding{pid: pid, what: what, mend: mend}
	*all = append(*all, f)
	return f
}

func (all findings) err() error {
	if len(all) == 0 {
		return nil
	}
	texts := make([]string, len(all))
	for i, f := range all {
		what := f.what
		if len(f.fds) > 0 {
			what = fmt.Sprintf("has %s open as descriptor %s", f.what, strings.Join(f.fds, ", "))
		}
		texts[i] = fmt.Sprintf("process %d (%s) %s: %s", f.pid, procfs.Command(f.pid), what, f.mend)
	}
	kind := hibernate.ErrPassing
	if slices.ContainsFunc(all, func(f *finding) bool { return !f.passes }) {
		kind = hibernate.ErrObstacle
	}
	return fmt.Errorf("%w: %s", kind, strings.Join(texts, "; "))
}

// obstacle says what is wrong with d, nothing if CRIU may be able to take it.
// Those inside are the PIDs of the tree.
func obstacle(d procfs.Descriptor, inside map[string]bool) (what, mend string) {
	switch {
	case strings.HasPrefix(d.Target, "anon_inode:"):
		for _, a := range anonymous {
			if strings.HasPrefix(d.Target, a.target) {
				return a.target, a.mend
			}
		}
		if !slices.Contains(taken, d.Target[len("anon_inode:"):]) {
			return d.Target, "close it in BeforeCheckpoint and open it again in AfterRestore"
		}
	case strings.HasPrefix(d.Target, "/proc/"):
		pid, _, _ := strings.Cut(d.Target[len("/proc/"):], "/")
		if inside[pid] {
			return d.Target, "its number is another after the wake: open such files only to read them at once"
		}
	case strings.HasPrefix(d.Target, "/dev/"):
		if number, ok := d.Device(); ok && !takesDevice(number) {
			return "the device " + d.Target, "close it in BeforeCheckpoint and open it again in AfterRestore"
		}
	case d.Socket() != 0:
		protocol := d.Protocol()
		if mend, ok := protocols[protocol]; ok {
			return "a socket of protocol " + protocol, mend
		}
	}
	return "", ""
}

// takesDevice tells whether CRIU knows the device: memory devices such as
// /dev/null, terminals and tunnels.
func takesDevice(number uint64) bool {
	const memory, console, terminal, misc, tunnel = 1, 4, 5, 10, 200
	major, minor := unix.Major(number), unix.Minor(number)
	switch {
	case major == memory, major == console, major == terminal:
		return true
	case 128 <= major && major <= 143: // both ends of pseudo terminals
		return true
	}
	return major == misc && minor == tunnel
}
