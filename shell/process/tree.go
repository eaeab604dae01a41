package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/internal/bytesize"
	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
	"dormouse/shell"
	"dormouse/shell/process/output"
)

// tree is a plugin's processes: pid 1 of their namespace, the program below it
// and all that the program started.
type tree struct {
	leaf   *leaf // nil without cgroups
	output *output.Streams

	root    *os.Process
	pidfd   *pidfd                // of the root
	adopted bool                  // the root is no child of this process
	bound   bool                  // the kernel ends the tree with the host
	apart   bool                  // the tree has a PID namespace of its own
	number  int                   // the program's PID in that namespace
	pid     int                   // the program's PID as the host saw it when it began
	begun   time.Time             // when it was started or woken
	awaited atomic.Bool           // the end of the tree is what the host wants
	kills   int                   // how often one of it had been ended for want of memory when this host got it
	loading hibernate.Loading     // nil unless the tree woke before its memory was read
	cause   atomic.Pointer[error] // why the host ended it, when that was no wish
	exited  chan struct{}         // closed when the root is reaped, which what follows tells of
	state   *os.ProcessState
	starved bool // one of it was ended for want of memory
	waiting sync.WaitGroup
}

// newTree prepares what a tree needs before it has a process. Its output goes to
// files in the directory spools, or to pipes when that is "".
func newTree(c *Cgroups, name string, limits configs.Limits, spools string, log zerolog.Logger, tail *output.Tail) (*tree, error) {
	t := &tree{exited: make(chan struct{}), begun: time.Now()}
	if err := c.CanEnforce(limits); err != nil {
		return nil, err
	}
	if c != nil {
		l, err := c.leaf(name, cgroupSettings(limits))
		if err != nil {
			return nil, err
		}
		t.leaf = l
	}
	var err error
	if t.output, err = output.Open(spools, log, tail); err != nil {
		return nil, errors.Join(err, t.discard())
	}
	return t, nil
}

// launch starts cmd as the root. Without privileges the tree shares the host's
// PID namespace.
func (t *tree) launch(cmd *exec.Cmd) error {
	stdout, stderr := t.output.Files()
	cmd.Stdout, cmd.Stderr = stdout, stderr
	attributes := &syscall.SysProcAttr{Setsid: true}
	if t.bound {
		attributes.Pdeathsig = syscall.SIGKILL
	}
	if os.Geteuid() == 0 {
		attributes.Cloneflags = syscall.CLONE_NEWPID
		t.apart = true
	}
	if t.leaf != nil {
		attributes.UseCgroupFD = true
		attributes.CgroupFD = int(t.leaf.fd.Fd())
	}
	cmd.SysProcAttr = attributes
	if err := cmd.Start(); err != nil {
		return err
	}
	t.root = cmd.Process
	t.output.Start(true)
	return nil
}

// inherited hands the tree's ends of its output to a restored tree, which knows them
// by the keys of its image.
func (t *tree) inherited(image output.Keys) []hibernate.Inherited {
	stdout, stderr := t.output.Files()
	return []hibernate.Inherited{{Key: image.Stdout, File: stdout}, {Key: image.Stderr, File: stderr}}
}

// adopt takes a root that was restored with the tree's log pipes, and what is
// still loaded into it.
func (t *tree) adopt(root *os.Process, number int, loading hibernate.Loading) {
	t.root, t.number, t.apart = root, number, true
	t.pid = t.program()
	t.output.Start(false)
	t.await(loading)
}

// await has the end of the loading noticed, if there is one.
func (t *tree) await(loading hibernate.Loading) {
	if loading != nil {
		t.loading = loading
		t.waiting.Go(t.load)
	}
}

// load waits for the memory of the tree. Without it the tree can't live: what
// touches memory that does not come would wait for ever.
func (t *tree) load() {
	defer t.loading.Close()
	select {
	case <-t.exited:
	case <-t.loading.Done():
		if err := t.loading.Err(); err != nil {
			t.cause.Store(new(fmt.Errorf("%w: the host ended it, since its memory could not be loaded: %w", shell.ErrExited, err)))
			t.kill()
			<-t.exited
		}
	}
}

// progress is how far the loading has come, zero when there is none any more.
func (t *tree) progress() shell.Progress {
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

// loaded returns when all memory of the tree is there.
func (t *tree) loaded(ctx context.Context) error {
	if t.loading == nil {
		return nil
	}
	t.loading.Hurry()
	select {
	case <-t.loading.Done():
		if t.loading.Err() != nil {
			return t.exitError()
		}
		return nil
	case <-ctx.Done():
		done, total := t.loading.Progress()
		return fmt.Errorf("only %s of %s of its memory are loaded yet: %w", bytesize.Format(done), bytesize.Format(total), ctx.Err())
	}
}

// leave lets go of the running tree, whose output was read up to now.
func (t *tree) leave() {
	t.expectEnd()
	t.pidfd.close()
	if t.loading != nil {
		t.loading.Leave()
	}
	t.waiting.Wait()
	t.output.Close()
	_ = t.leaf.fd.Close()
	_ = t.root.Release()
}

// watch reaps the root when it ends and reports an end that nobody awaited.
func (t *tree) watch(report func(error)) {
	t.waiting.Go(func() {
		if !t.pidfd.wait() {
			return // it was let go
		}
		if !t.adopted { // else its parent reaps it
			if state, err := t.root.Wait(); err == nil {
				t.state = state
			}
		}
		t.starved = t.cgroup().OOMKills() > t.kills
		t.output.TreeEnded()
		close(t.exited)
		if !t.awaited.Load() {
			report(t.exitError())
		}
	})
}

// expectEnd makes the end of the tree no news.
func (t *tree) expectEnd() { t.awaited.Store(true) }

func (t *tree) ended() bool {
	select {
	case <-t.exited:
		return true
	default:
		return false
	}
}

// endedSoon is ended, save that it leaves a moment for the end of a tree that
// has closed its files already.
func (t *tree) endedSoon() bool {
	t.wait(200 * time.Millisecond)
	return t.ended()
}

// wait returns when the tree has ended, or after limit.
func (t *tree) wait(limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-t.exited:
	case <-timer.C:
	}
}

// terminate asks the program by SIGTERM to end, and waits for it up to limit.
func (t *tree) terminate(limit time.Duration) {
	if t.ended() {
		return
	}
	if err := t.root.Signal(syscall.SIGTERM); err == nil {
		t.wait(limit)
	}
}

// end kills what still runs, reaps it, and removes all that the tree had. Its
// log is read to the end.
func (t *tree) end() error {
	t.expectEnd()
	if !t.ended() {
		t.kill()
		<-t.exited
	}
	t.waiting.Wait()
	if t.adopted {
		_ = t.root.Release() // not before: it forgets the PID
	}
	return t.discard()
}

// kill leaves no process of the tree alive.
func (t *tree) kill() {
	if t.leaf != nil && t.leaf.Kill() == nil {
		return
	}
	if !t.apart {
		// The root ends its descendants, but only if it lives to do so. It may be
		// stopped, by the plugin, which has the same user.
		if t.root.Signal(syscall.SIGQUIT) == nil && t.root.Signal(syscall.SIGCONT) == nil {
			t.wait(time.Second)
		}
	}
	_ = t.root.Kill() // and with pid 1 its whole namespace; it may be gone already
}

// killLeft ends what a failed restore left in the cgroup, which the next attempt
// can use then.
func (t *tree) killLeft() error {
	if t.leaf == nil {
		return nil
	}
	return t.leaf.renew()
}

// discard gives back what a tree has besides processes.
func (t *tree) discard() error {
	if t.output != nil {
		t.output.Close()
	}
	if t.leaf == nil {
		return nil
	}
	return t.leaf.remove()
}

// pids are the host's numbers of all processes.
func (t *tree) pids() []int { return procfs.Tree(t.root.Pid) }

// setProgram notes which process is the program: pid 1's first child. Orphans
// come after it.
func (t *tree) setProgram() {
	if children := procfs.Children(t.root.Pid); len(children) > 0 {
		t.pid, t.number = children[0], procfs.NSPid(children[0])
	}
}

// program returns the host's number of the program, 0 when it is gone.
func (t *tree) program() int {
	for _, child := range procfs.Children(t.root.Pid) {
		if procfs.NSPid(child) == t.number {
			return child
		}
	}
	return 0
}

func (t *tree) cgroup() cgroup.Dir {
	if t.leaf == nil {
		return ""
	}
	return t.leaf.Dir
}

// exitError says how the tree ended, and what of.
func (t *tree) exitError() error {
	<-t.exited
	if cause := t.cause.Load(); cause != nil {
		return *cause
	}
	if t.starved {
		return fmt.Errorf("%w: %w", shell.ErrMemoryExceeded, t.exit())
	}
	return t.exit()
}

func (t *tree) exit() error {
	if t.state == nil {
		exit := fmt.Errorf("%w; how is not known, for an earlier host had started it", shell.ErrExited)
		if words := t.lastWords(); words != nil {
			exit = fmt.Errorf("%w; %w", exit, words)
		}
		return exit
	}
	exit := &shell.ExitError{Status: t.state.ExitCode(), LastLines: t.lastWords()}
	if status, ok := t.state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		exit.Signal = status.Signal()
	} else if signal := exit.Status - 128; signal > 0 && signal < 65 {
		// Pid 1 can't die of a signal itself; it tells the program's like this.
		exit.Signal = syscall.Signal(signal)
	}
	return exit
}

// lastWords is the end of what the plugin wrote on stderr, nil when it wrote
// nothing.
func (t *tree) lastWords() error {
	if t.ended() {
		t.output.WaitRead(time.Second)
	}
	return t.output.LastWords()
}
