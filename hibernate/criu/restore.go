package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/hibernate/criu/outside"
	"dormouse/hibernate/criu/pager"
	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
	"dormouse/internal/reap"
	"dormouse/internal/timelimit"
)

// Restore implements hibernate.Engine. After an error it has killed what CRIU has made.
func (e *Engine) Restore(ctx context.Context, r hibernate.RestoreOrder) (*os.Process, error) {
	tree := &restoredTree{group: r.Cgroup}
	root, err := e.restoreStopped(ctx, r, tree, nil)
	if err != nil {
		return nil, errors.Join(err, tree.killTreeAndHelpers())
	}
	tree.around.Succeed()
	return root, nil
}

// restoreStopped has CRIU restore the tree, lazily if lazyPager is not nil, and returns the
// root when the whole tree is stopped. It records in made what CRIU makes; after an error the
// caller must call made.killTreeAndHelpers.
func (e *Engine) restoreStopped(ctx context.Context, r hibernate.RestoreOrder, made *restoredTree, lazyPager pager.Pager) (root *os.Process, err error) {
	if made.around, err = outside.Begin(ctx, r.Dir, r.ID, e.HelperDir); err != nil {
		return nil, err
	}
	s, end := e.takeOrStartSession(r.Prestarted, r.Cgroup, inheritedFiles(r.Files))
	defer end()
	opts := commonOptions()
	opts.SkipFileRwxCheck = new(true) // as of a running program, others may change the mode of a file
	opts.RstSibling = new(true)       // the root becomes a child of this process, which can then wait for its end
	for i := range r.Files {
		opts.InheritFd = append(opts.InheritFd, &rpc.InheritFd{Key: &r.Files[i].Key, Fd: new(int32(passedFD + i))})
	}
	o := criuRequest{kind: rpc.CriuReqType_RESTORE, images: r.Dir, opts: opts, notify: func(n *rpc.CriuNotify) {
		made.recordNotification(n)
		e.noteProgramFiles(s.criu.cmd.Process.Pid)
	}}
	if lazyPager != nil {
		opts.LazyPages, o.serve = new(true), lazyPager.RunRestoreAndServe
	}
	if err = s.runRequestOnce(ctx, o); err != nil {
		return nil, explainTakenAddress(r.Dir, err)
	}
	if !made.complete {
		return nil, errors.New("CRIU did not say which process it made")
	}
	if err := waitTreeStopped(ctx, made.root); err != nil {
		return nil, err
	}
	return os.FindProcess(made.root)
}

// inheritedFiles returns the File of each, in the same order. CRIU gets a descriptor for
// each, even if two are the same file, since one descriptor cannot have two keys.
func inheritedFiles(inherited []hibernate.Inherited) []*os.File {
	files := make([]*os.File, len(inherited))
	for i, f := range inherited {
		files[i] = f.File
	}
	return files
}

// restoredTree is the tree that CRIU is making in a restore.
type restoredTree struct {
	group    cgroup.Dir       // "" when the tree gets none of its own
	around   *outside.Attempt // nil before the restore has begun
	root     int              // PID of the root, 0 before CRIU has made it
	complete bool             // CRIU has made the whole tree
}

// recordNotification takes the PID of the root from a notification of CRIU, and whether
// CRIU has made the whole tree.
func (r *restoredTree) recordNotification(n *rpc.CriuNotify) {
	switch n.GetScript() {
	case "setup-namespaces": // the tree is only its root yet
		r.root = int(n.GetPid())
	case "post-restore":
		r.root, r.complete = int(n.GetPid()), true
	}
}

// killTreeAndHelpers kills and reaps the tree, kills the helpers that a killed CRIU left in
// the cgroup, and undoes what CRIU did outside of the image. CRIU itself must have ended before.
func (r *restoredTree) killTreeAndHelpers() error {
	roots := r.findRestoredChildren()
	signalAll(roots, syscall.SIGKILL) // which kills all processes of their PID namespaces
	for range 100 {                   // helpers may fork between Members and the signal
		left := r.group.Members()
		if len(left) == 0 {
			break
		}
		signalAll(left, syscall.SIGKILL)
		time.Sleep(time.Millisecond)
	}
	var errs []error
	for _, pid := range roots {
		errs = append(errs, reap.Child(pid, killLimit))
	}
	if r.around != nil {
		r.around.Undo()
	}
	return errors.Join(errs...)
}

// killLimit is how long a process may take to end once it is killed.
const killLimit = 5 * time.Second

// findRestoredChildren returns the PIDs of the children of this process that the restore has
// made, even if CRIU was killed before it named the root.
func (r *restoredTree) findRestoredChildren() []int {
	var roots []int
	for _, child := range procfs.Children(os.Getpid()) {
		if child == r.root || r.group.HasMember(child) || r.group == "" && hasCRIUCommandLine(child) {
			roots = append(roots, child)
		}
	}
	return roots
}

// hasCRIUCommandLine reports whether CRIU has just begun to restore the process: it still has
// CRIU's command line.
func hasCRIUCommandLine(pid int) bool {
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	return err == nil && strings.Contains(string(line), "criu: restore --rpc")
}

// waitTreeStopped returns when every process of the tree below the root is stopped or has
// ended, or with an error when ctx ends. CRIU answers a moment before the stop has reached
// all of them.
func waitTreeStopped(ctx context.Context, rootPID int) error {
	for slices.ContainsFunc(procfs.Tree(rootPID), func(pid int) bool { return !procfs.IsStopped(pid) && !procfs.HasEnded(pid) }) {
		if ctx.Err() != nil {
			return fmt.Errorf("the tree does not stop: %w", timelimit.EndError(ctx))
		}
		// time.Sleep would take a millisecond when this process is idle.
		_ = unix.Nanosleep(&unix.Timespec{Nsec: 50_000}, nil)
	}
	return nil
}
