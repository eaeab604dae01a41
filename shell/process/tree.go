package process

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"dormouse/hibernate"
	"dormouse/internal/bytesize"
	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
	"dormouse/internal/timelimit"
	"dormouse/shell"
	"dormouse/shell/process/output"
)

// tree is the process tree of a plugin: pid 1 of its PID namespace, the program below
// pid 1, and all that the program started.
type tree struct {
	group  *pluginCgroup // nil without cgroups
	output *output.Streams
	begun  time.Time // when the tree was started or woken
	socket string    // path of the plugin's socket

	root         *os.Process // pid 1
	rootStarted  uint64      // start time of the root, in clock ticks since the boot
	pidfd        *pidfd      // of the root
	foreign      bool        // the root is not a child of this host
	bound        bool        // the kernel kills the tree when the host ends
	ownNamespace bool        // the tree has a PID namespace of its own
	programNSPid int         // PID of the program in the tree's namespace
	programPID   int         // PID of the program in the host's namespace, when the tree began

	loading        hibernate.Loading     // nil unless the tree runs before all its memory is loaded
	imageBytes     int64                 // size on disk of the image that the tree was restored from, 0 for none
	endExpected    atomic.Bool           // the host ends the tree, so its end is not reported
	oomKillsBefore int                   // processes of the cgroup that the kernel had killed for memory when this host took the tree
	killCause      atomic.Pointer[error] // why the host killed the tree, if that was not asked of it
	background     sync.WaitGroup

	exited    chan struct{}    // closed when the root is reaped; the fields below are set then
	exitState *os.ProcessState // nil for a foreign root
	oomKilled bool             // the kernel killed a process of the tree for memory
}

// startRoot starts cmd as the root, in the tree's cgroup and in a session of its own, and
// begins to read its output. A host without privileges can't make a PID namespace: the tree
// then shares the host's.
func (t *tree) startRoot(cmd *exec.Cmd) error {
	stdout, stderr := t.output.WriteEnds()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	attributes := &syscall.SysProcAttr{Setsid: true}
	atHostEnd := syscall.SIGQUIT // the root kills its descendants then
	if os.Geteuid() == 0 {
		attributes.Cloneflags = syscall.CLONE_NEWPID
		t.ownNamespace = true
		atHostEnd = syscall.SIGKILL // the kernel kills the namespace with its root
	}
	if t.bound {
		attributes.Pdeathsig = atHostEnd
	}
	if t.group != nil {
		attributes.UseCgroupFD = true
		attributes.CgroupFD = int(t.group.fd.Fd())
	}
	cmd.SysProcAttr = attributes
	if err := cmd.Start(); err != nil {
		return err
	}
	t.root = cmd.Process
	t.output.StartReading(true)
	return nil
}

// attachRestoredRootAndWatch makes a restored process the root, and begins to read its
// output and to watch the loading. loading is nil if all memory of the tree is loaded.
func (t *tree) attachRestoredRootAndWatch(root *os.Process, programNSPid int, loading hibernate.Loading) {
	t.root, t.programNSPid, t.ownNamespace = root, programNSPid, true
	t.programPID = t.findProgramPID()
	t.output.StartReading(false)
	t.watchLoadingKillIfFailed(loading)
}

// watchLoadingKillIfFailed watches the loading in the background and kills the tree if
// its memory can't be loaded: a process that touches missing memory would block for
// ever. loading may be nil.
func (t *tree) watchLoadingKillIfFailed(loading hibernate.Loading) {
	if loading == nil {
		return
	}
	t.loading = loading
	t.background.Go(func() {
		defer loading.Close()
		select {
		case <-t.exited:
		case <-loading.Done():
			if err := loading.Err(); err != nil {
				t.killCause.Store(new(fmt.Errorf("%w: the host ended it, since its memory could not be loaded: %w", shell.ErrExited, err)))
				t.kill()
				<-t.exited
			}
		}
	})
}

// loadingProgress returns how much memory is loaded, zero once all is.
func (t *tree) loadingProgress() shell.Progress {
	if t.loading == nil {
		return shell.Progress{}
	}
	select {
	case <-t.loading.Done():
		return shell.Progress{}
	default:
		done, total := t.loading.Progress()
		return shell.Progress{Done: done, Total: total}
	}
}

// imageBytesRead returns how many bytes of its image were read from disk: all, unless
// the tree runs before its memory is loaded.
func (t *tree) imageBytesRead() int64 {
	if t.loading == nil {
		return t.imageBytes
	}
	return t.loading.BytesRead()
}

// hurryAndWaitLoaded hurries the loading of the tree's memory and returns when it is
// done, or an error when ctx ends before. If the loading fails, it returns how the tree
// ended.
func (t *tree) hurryAndWaitLoaded(ctx context.Context) error {
	if t.loading == nil {
		return nil
	}
	t.loading.Hurry()
	select {
	case <-t.loading.Done():
		if t.loading.Err() != nil {
			return t.waitExitError()
		}
		return nil
	case <-ctx.Done():
		done, total := t.loading.Progress()
		return fmt.Errorf("only %s of %s of its memory are loaded yet: %w", bytesize.Format(done), bytesize.Format(total), timelimit.EndError(ctx))
	}
}

// closeButLeaveRunning closes the host's descriptors of the running tree, which the next
// host can adopt. Output that was written up to now is read.
func (t *tree) closeButLeaveRunning() {
	t.suppressExitReport()
	t.pidfd.close()
	if t.loading != nil {
		t.loading.Leave()
	}
	t.background.Wait()
	t.output.ReadRestAndClose()
	_ = t.group.fd.Close()
	_ = t.root.Release()
}

// watchAndReportExit waits in the background for the end of the root, reaps a root that
// is the host's child, and calls report with how the tree ended, unless the end is
// expected.
func (t *tree) watchAndReportExit(report func(error)) {
	t.background.Go(func() {
		if !t.pidfd.waitExitAndClose() {
			return // closeButLeaveRunning has closed the pidfd
		}
		if !t.foreign { // a foreign root is reaped by its parent
			if state, err := t.root.Wait(); err == nil {
				t.exitState = state
			}
		}
		t.oomKilled = t.cgroup().OOMKillCount() > t.oomKillsBefore
		t.output.StopAtEOF()
		close(t.exited)
		if !t.endExpected.Load() {
			report(t.waitExitError())
		}
	})
}

// suppressExitReport keeps the host from reporting the end of the tree, since the host
// causes it.
func (t *tree) suppressExitReport() { t.endExpected.Store(true) }

// hasEnded reports whether watchAndReportExit has seen the end of the root.
func (t *tree) hasEnded() bool {
	select {
	case <-t.exited:
		return true
	default:
		return false
	}
}

// waitBrieflyForEnd waits a fifth of a second for the end of a tree that has closed its
// files, and reports whether the tree has ended.
func (t *tree) waitBrieflyForEnd() (hasEnded bool) {
	t.waitEnd(200 * time.Millisecond)
	return t.hasEnded()
}

// waitEnd returns when the tree has ended, or after limit.
func (t *tree) waitEnd(limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-t.exited:
	case <-timer.C:
	}
}

// sendSIGTERMAndWait sends SIGTERM to the root and waits for its end, no longer than limit.
func (t *tree) sendSIGTERMAndWait(limit time.Duration) {
	if t.hasEnded() {
		return
	}
	if err := t.root.Signal(syscall.SIGTERM); err == nil {
		t.waitEnd(limit)
	}
}

// killAndRelease kills and reaps what still runs, reads the rest of the output, and releases
// all that the tree had. A tree that has not ended within killLimit keeps all; the error then
// wraps shell.ErrUnended.
func (t *tree) killAndRelease() error {
	t.killUnreported()
	t.waitEnd(killLimit)
	if !t.hasEnded() {
		return cmp.Or(remainsOf(t).endError(), shell.ErrUnended)
	}
	return t.release()
}

// release reads the rest of the output of a tree that has ended, and releases all that the
// tree had.
func (t *tree) release() error {
	t.background.Wait()
	if t.foreign {
		_ = t.root.Release() // not earlier: Release forgets the PID
	}
	return t.closeOutputAndRemoveCgroup()
}

// killUnreported kills the tree, if it still runs, and keeps its end from being reported.
func (t *tree) killUnreported() {
	t.suppressExitReport()
	if !t.hasEnded() {
		t.kill()
	}
}

// kill kills all processes of the tree. It does not wait until they have ended. The root is
// also killed by itself, and with it its namespace, since a plugin may have moved processes to
// another cgroup.
func (t *tree) kill() {
	killed := t.group != nil && t.group.Kill() == nil
	if !killed && !t.ownNamespace {
		// The root kills its descendants at SIGQUIT, unless the plugin, which has the same
		// user, has stopped it: hence SIGCONT.
		if t.root.Signal(syscall.SIGQUIT) == nil && t.root.Signal(syscall.SIGCONT) == nil {
			t.waitEnd(time.Second)
		}
	}
	_ = t.root.Kill() // with pid 1 the kernel kills its namespace; it may be gone already
}

// closeOutputAndRemoveCgroup closes the output and removes the cgroup of a tree without
// processes.
func (t *tree) closeOutputAndRemoveCgroup() error {
	if t.output != nil {
		t.output.ReadRestAndClose()
	}
	return t.group.closeAndRemove()
}

// pids returns the PIDs of all processes of the tree in the host's namespace.
func (t *tree) pids() []int { return procfs.Tree(t.root.Pid) }

// findAndSetProgramPIDs sets the PIDs of the program, which is pid 1's first child.
// Orphans that pid 1 inherits come later.
func (t *tree) findAndSetProgramPIDs() {
	if children := procfs.Children(t.root.Pid); len(children) > 0 {
		t.programPID, t.programNSPid = children[0], procfs.NSPid(children[0])
	}
}

// findProgramPID returns the PID of the program in the host's namespace, 0 when the program
// has ended.
func (t *tree) findProgramPID() int {
	for _, child := range procfs.Children(t.root.Pid) {
		if procfs.NSPid(child) == t.programNSPid {
			return child
		}
	}
	return 0
}

// cgroup returns the cgroup of the tree, "" without cgroups.
func (t *tree) cgroup() cgroup.Dir {
	if t.group == nil {
		return ""
	}
	return t.group.Dir
}

// waitExitError waits for the end of the tree and returns how and why the tree ended.
// The error wraps shell.ErrExited, and shell.ErrMemoryExceeded if the kernel killed one
// of its processes for memory. It wraps shell.ErrUnended if the tree does not end within killLimit.
func (t *tree) waitExitError() error {
	t.waitEnd(killLimit)
	if !t.hasEnded() {
		return fmt.Errorf("%w: %w", shell.ErrExited, cmp.Or(remainsOf(t).endError(), shell.ErrUnended))
	}
	if cause := t.killCause.Load(); cause != nil {
		return *cause
	}
	if t.oomKilled {
		return fmt.Errorf("%w: %w", shell.ErrMemoryExceeded, t.rootExitError())
	}
	return t.rootExitError()
}

// rootExitError returns how the root exited, with the last words, as a
// *shell.ExitError if that is known.
func (t *tree) rootExitError() error {
	if t.exitState == nil {
		exit := fmt.Errorf("%w; how is not known, since an earlier host started it", shell.ErrExited)
		if words := t.waitLastWordsError(); words != nil {
			exit = fmt.Errorf("%w; %w", exit, words)
		}
		return exit
	}
	exit := &shell.ExitError{Status: t.exitState.ExitCode(), LastWords: t.waitLastWordsError()}
	if status, ok := t.exitState.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		exit.Signal = status.Signal()
	} else if signal := exit.Status - 128; signal > 0 && signal < 65 {
		// Pid 1 can't die of a signal itself; it passes the program's signal on like this.
		exit.Signal = syscall.Signal(signal)
	}
	return exit
}

// waitLastWordsError returns an error that quotes the last words, nil if there are
// none. If the tree has ended, it waits up to a second until all of its output
// is read.
func (t *tree) waitLastWordsError() error {
	if t.hasEnded() {
		t.output.WaitReadToEnd(time.Second)
	}
	return t.output.LastWordsError()
}
