package process

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
	"dormouse/shell"
)

// killLimit is how long a tree may take to end once it is killed. A process that waits for a
// disk or a device ends only after that.
const killLimit = 4 * time.Second

// Remains are the trees of a host's instances that were killed and have not ended. No second
// tree of the same instance may run beside one. The zero value holds none.
type Remains struct {
	mu     sync.Mutex
	byName map[string]remains // by the name of the instance's run directory
}

// remains is a tree that was killed and has not ended.
type remains struct {
	root    int    // PID
	started uint64 // start time of the root, in clock ticks since the boot
	group   cgroup.Dir
	release func() error // releases all that the tree had, once it has ended
}

// note keeps the remains of the instance.
func (r *Remains) note(name string, left remains) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byName == nil {
		r.byName = make(map[string]remains)
	}
	r.byName[name] = left
}

// IsLeft reports whether a tree of the instance with that name of its run directory has not
// ended. r may be nil.
func (r *Remains) IsLeft(name string) bool {
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	left, ok := r.byName[name]
	return ok && left.endError() != nil
}

// checkAndRelease returns why no tree of the instance may start, a shell.ErrUnended. When its
// earlier tree has ended meanwhile, it releases all that the tree had.
func (r *Remains) checkAndRelease(name string) error {
	r.mu.Lock()
	left, ok := r.byName[name]
	r.mu.Unlock()
	if !ok {
		return nil
	}
	if err := left.endError(); err != nil {
		return fmt.Errorf("%w; none is started beside them", err)
	}
	r.mu.Lock()
	delete(r.byName, name)
	r.mu.Unlock()
	return left.release()
}

// endError returns a shell.ErrUnended that names the processes, nil if all have ended.
func (l remains) endError() error {
	pids := slices.DeleteFunc(l.group.Members(), func(pid int) bool { return stateOfLivingThread(pid) == "" })
	if l.root != 0 && procfs.StartTicks(l.root) == l.started && !procfs.HasEnded(l.root) && !slices.Contains(pids, l.root) {
		pids = append(pids, l.root)
	}
	if len(pids) == 0 && !l.group.IsPopulated() {
		return nil
	}
	const shown = 5
	var each []string
	for _, pid := range pids[:min(len(pids), shown)] {
		each = append(each, fmt.Sprintf("%d (%s, state %s)", pid, procfs.ProcessName(pid), stateOfLivingThread(pid)))
	}
	if more := len(pids) - shown; more > 0 {
		each = append(each, fmt.Sprintf("%d more", more))
	}
	return fmt.Errorf("%w: %s; one in state D waits for a disk or a device that does not answer", shell.ErrUnended, strings.Join(each, ", "))
}

// stateOfLivingThread returns the state of a thread of the process that has not ended, "D" if
// there is one in that state, "" if all have ended. The process itself may be a zombie while
// one of its threads is not.
func stateOfLivingThread(pid int) (state string) {
	for _, tid := range procfs.ThreadIDs(pid) {
		switch s := procfs.StateLetter(tid); s {
		case "D":
			return s
		case "", "Z", "X":
		default:
			state = s
		}
	}
	return state
}

// awaitEnd returns when the tree has ended, or a shell.ErrUnended after killLimit.
func (l remains) awaitEnd() error {
	deadline := time.Now().Add(killLimit)
	for {
		err := l.endError()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// remainsOf returns the tree as remains.
func remainsOf(t *tree) remains {
	return remains{root: t.root.Pid, started: t.rootStarted, group: t.cgroup(), release: func() error {
		t.waitEnd(killLimit) // the root is reaped in a moment
		if !t.hasEnded() {
			return shell.ErrUnended
		}
		return t.release()
	}}
}

// killAndReleaseTree kills the tree and releases all that it had. If it does not end, the
// error wraps shell.ErrUnended, and no other tree of the instance starts before it has ended.
func (b *Backend) killAndReleaseTree(t *tree) error {
	err := t.killAndRelease()
	if errors.Is(err, shell.ErrUnended) {
		b.host.Remains.note(b.dirName, remainsOf(t))
	}
	return err
}

// killProcess sends SIGKILL to the process with that PID, if it was started then.
func killProcess(pid int, startTicks uint64) {
	if pid == 0 {
		return
	}
	fd, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return // it is gone
	}
	defer func() { _ = unix.Close(fd) }()
	if procfs.StartTicks(pid) == startTicks { // no other process can get the PID while fd is open
		_ = unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0) // it may have ended
	}
}
