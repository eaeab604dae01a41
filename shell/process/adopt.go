package process

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"dormouse/hibernate"
	"dormouse/hibernate/pageout"
	"dormouse/internal/cgroup"
	"dormouse/internal/ownedtree"
	"dormouse/internal/procfs"
	"dormouse/shell"
	"dormouse/shell/process/output"
	"dormouse/shell/shellpb"
)

// errHostKilled means that a tree can't be adopted, since its host was killed.
var errHostKilled = errors.New("the host that ran the plugin was killed")

// abandonedEngineLimit is how long an engine whose host was killed may go on to dump or
// restore.
const abandonedEngineLimit = 5 * time.Second

// Inherited reports whether an earlier host left a journal, and why the plugin was active
// according to it, see shell.Process. It returns false once Adopt was called.
func (b *Backend) Inherited() (why shell.Reason, inherited bool) {
	if b.inherited == nil {
		return "", false
	}
	return cmp.Or(b.inherited.Reason, shell.Startup), true
}

// Adopt takes over the tree that an earlier host left, see shell.Process. It compares the
// tree with the journal before it connects to the plugin. After an error it kills what is
// left of the tree and clears the run directory.
func (b *Backend) Adopt(ctx context.Context) (shell.Information, error) {
	j := b.inherited
	b.inherited = nil
	err := b.checkAdoptable(j)
	if err == nil {
		err = b.adoptTreeAndConnect(ctx, j)
	}
	if err == nil {
		return b.information(), nil
	}
	if b.currentLife().tree != nil {
		return shell.Information{}, errors.Join(err, b.Stop(ctx))
	}
	if kerr := b.killTreeOfJournal(j); kerr != nil {
		return shell.Information{}, errors.Join(err, kerr) // the next host needs the journal
	}
	return shell.Information{}, errors.Join(err, b.host.endAndRemoveLoading(b.runDir()), b.removeRunDir())
}

// checkAdoptable returns why the tree can't be adopted according to its journal and to this
// host's configuration, nil if it can. It does not look at the tree.
func (b *Backend) checkAdoptable(j *journal) error {
	switch {
	case j.Boot != procfs.BootID():
		return fmt.Errorf("%w: by the end of the boot", errHostKilled)
	case j.Phase == phaseStarting:
		return fmt.Errorf("%w while the plugin started", errHostKilled)
	case j.Phase == phaseEnding:
		return fmt.Errorf("%w while the plugin ended", errHostKilled)
	case j.Bound:
		return fmt.Errorf("%w, and the plugin was to end with it", errHostKilled)
	case !b.host.Adopt:
		return fmt.Errorf("%w, and on-host-exit is not adopt", errHostKilled)
	case j.Configuration != checksumOfStartConfig(b.config()):
		return errors.New("the plugin was started with another configuration")
	}
	return nil
}

// adoptTreeAndConnect takes over the running tree and connects to the plugin. After an
// error the tree is in b.life, or else its processes are in the cgroup of the journal.
func (b *Backend) adoptTreeAndConnect(ctx context.Context, j *journal) error {
	info, err := parseInformation(j.Information)
	if err != nil {
		return err
	}
	loading, err := b.host.rejoinLoading(b.runDir()) // first: the plugin may wait for its memory
	if err != nil {
		return fmt.Errorf("cannot load the rest of its memory: %w", err)
	}
	t, err := b.thawAndOpenTree(ctx, j)
	if err != nil {
		if loading != nil {
			loading.Leave()
		}
		return err
	}
	t.watchAndReportExit(b.sink.Exited)
	t.watchLoadingKillIfFailed(loading)
	b.mu.Lock()
	b.life = life{state: lifeRunning, tree: t}
	b.info, b.reason = info, j.Reason
	if j.Warm != nil {
		b.golden.startedFrom = &shell.GoldenImage{Created: j.Warm.Created, Generation: j.Warm.Generation}
	}
	b.mu.Unlock()
	b.lastEvent.Store(j.LastEvent)
	if j.Phase != phaseRunning { // its BeforeCheckpoint may have been called
		return b.reconnectAndFollowReports(ctx, t, &shellpb.AfterRestoreRequest{Generation: j.Generation})
	}
	if err := b.connectAndOpenHostSocket(ctx, t); err != nil {
		return err
	}
	if err := b.fetchAndKeepInformation(ctx); err != nil { // a plugin that does not answer is not adopted
		return b.waitForExitErrorOr(err)
	}
	b.startFollowingReports(ctx)
	return nil
}

// thawAndOpenTree checks that the tree of the journal runs, thaws it, and opens its
// pidfd, its cgroup and its output. It waits for an engine that still works on the tree.
// After an error it leaves the tree alone.
func (b *Backend) thawAndOpenTree(ctx context.Context, j *journal) (_ *tree, err error) {
	root := j.Root
	if root == 0 {
		root = findNamespaceRoot(j.Cgroup.Members())
	}
	t := &tree{
		group: &pluginCgroup{Dir: j.Cgroup}, oomKillsBefore: j.Cgroup.OOMKillCount(), ownNamespace: true, foreign: procfs.Parent(root) != os.Getpid(),
		programNSPid: j.ProgramNSPid, socket: j.Socket, begun: j.Begun, exited: make(chan struct{}),
	}
	if t.pidfd, err = openPidfd(root); err != nil {
		return nil, fmt.Errorf("the plugin ended while there was no host: %w", err)
	}
	defer func() {
		if err != nil {
			t.pidfd.close()
		}
	}()
	// The pidfd is opened before the check: after that, no other process can get the PID.
	if err := j.checkRootPID(root); err != nil {
		return nil, err
	}
	if err := pageOut.Wake(pageout.Tree{PID: root, Cgroup: j.Cgroup}); err != nil { // the tree may sleep in place
		return nil, err
	}
	if j.Phase != phaseRunning {
		if err := waitForEngineAndContinueTree(ctx, root, j.Cgroup); err != nil {
			return nil, err
		}
	}
	if t.root, err = os.FindProcess(root); err != nil {
		return nil, err
	}
	t.rootStarted = procfs.StartTicks(root)
	t.programPID = t.findProgramPID()
	if now := procfs.ExecutableID(t.programPID); j.Executing != "" && now != j.Executing {
		return nil, fmt.Errorf("process %d executes another file than the plugin did", t.programPID)
	}
	if t.group.fd, err = os.Open(string(j.Cgroup)); err != nil {
		return nil, err
	}
	if t.output, err = output.OpenFilesOrPipes(b.runDir(), b.log, &b.tail, b.limiter); err != nil {
		return nil, errors.Join(err, t.group.fd.Close())
	}
	t.output.StartReading(false)
	return t, nil
}

// checkRootPID returns an error unless the process rootPID is the root that the journal
// describes and is in the journal's cgroup.
func (j *journal) checkRootPID(rootPID int) error {
	if j.RootStarted != 0 && procfs.StartTicks(rootPID) != j.RootStarted {
		return fmt.Errorf("process %d is not the plugin's, which has ended while there was no host", rootPID)
	}
	if !slices.Contains(j.Cgroup.Members(), rootPID) {
		return fmt.Errorf("process %d is not in the plugin's cgroup", rootPID)
	}
	return nil
}

// waitForEngineAndContinueTree waits until the engine of an earlier host, which dumped
// or restored the tree below rootPID, has left the tree's cgroup, and then lets the tree
// run. After abandonedEngineLimit it returns an error.
func waitForEngineAndContinueTree(ctx context.Context, rootPID int, treeCgroup cgroup.Dir) error {
	ctx, cancel := context.WithTimeout(ctx, abandonedEngineLimit)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		engine := treeCgroup.MembersOutsideTree(rootPID)
		if len(engine) == 0 {
			procfs.ContinueStopped(procfs.Tree(rootPID))
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("processes %v of an earlier hibernation still work on the plugin", engine)
		}
	}
}

// findNamespaceRoot returns the PID of the process among pids that is pid 1 of its
// namespace and not below another one of them, 0 if there is none.
func findNamespaceRoot(pids []int) int {
	for _, pid := range pids {
		if procfs.NSPid(pid) == 1 && !slices.Contains(pids, procfs.Parent(pid)) {
			return pid
		}
	}
	return 0
}

// OutlivesHost reports whether the kernel lets the plugin run on without this host, see
// shell.Process.
func (b *Backend) OutlivesHost() bool {
	t := b.currentLife().tree
	return t != nil && !t.bound
}

// LeaveRunning closes the connections to the plugin, which runs on, and completes its
// journal for the next host, see shell.Process.
func (b *Backend) LeaveRunning(ctx context.Context) error {
	t := b.currentLife().tree
	b.closeLinkAndWait()
	_ = b.closeHostSocketAndConns(ctx, pluginDisconnectLimit) // connections that the plugin keeps open are cut
	j, err := b.journalOfTree(t, phaseRunning)
	j.LastEvent = b.lastEvent.Load()
	if err == nil {
		err = b.writeJournalUnlessProbe(j)
	}
	b.setLife(life{})
	t.closeButLeaveRunning()
	return err
}

// rejoinLoading takes over a loading that an earlier host began for the instance with that
// run directory. It returns nil if there is none.
func (h Host) rejoinLoading(runDir string) (hibernate.Loading, error) {
	return h.Engine.RejoinLoading(filepath.Join(runDir, loadingName))
}

// endAndRemoveLoading ends the loading, if there is one, of a tree that has been killed, and
// removes its files.
func (h Host) endAndRemoveLoading(runDir string) error {
	if loading, _ := h.rejoinLoading(runDir); loading != nil { // an error means that the loader has ended
		loading.Close()
	}
	return ownedtree.Remove(filepath.Join(runDir, loadingName))
}

// KillRemovedInstances kills the trees that an earlier host left of instances that may not run
// any more, and removes their run directories and those of its probes. mayRun reports whether there may be an instance
// of that callsign that may run.
func (h Host) KillRemovedInstances(mayRun func(callsign string) bool) error {
	entries, err := os.ReadDir(h.RunDir)
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		dir := filepath.Join(h.RunDir, entry.Name())
		if entry.IsDir() && isProbeDirName(entry.Name()) {
			errs = append(errs, h.leaveForeign(entry.Name(), ownedtree.RemoveMarked(dir)))
			continue
		}
		if !entry.IsDir() || mayRun(entry.Name()) {
			continue
		}
		j, err := readJournal(dir)
		errs = append(errs, err, markRunDirOfEarlierVersion(dir))
		if j == nil {
			continue
		}
		if err := j.killTreeAndRemoveCgroup(h.Cgroups); err != nil {
			errs = append(errs, err) // a later host needs the journal
			continue
		}
		errs = append(errs, h.endAndRemoveLoading(dir), ownedtree.RemoveMarked(dir))
	}
	return errors.Join(errs...)
}
