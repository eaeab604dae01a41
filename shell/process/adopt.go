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

	"google.golang.org/protobuf/proto"

	"dormouse/hibernate"
	"dormouse/hibernate/pageout"
	"dormouse/internal/cgroup"
	"dormouse/internal/procfs"
	"dormouse/shell"
	"dormouse/shell/process/output"
	"dormouse/shell/shellpb"
)

// errLeft is why nothing of an earlier host is taken over.
var errLeft = errors.New("the host that ran the plugin was killed")

// engineLimit is how long an engine whose host was killed may take to finish what
// it does to a tree.
const engineLimit = 5 * time.Second

// Inherited tells whether an earlier host left anything, see shell.Process.
func (b *Backend) Inherited() (why shell.Reason, left bool) {
	if b.left == nil {
		return "", false
	}
	return cmp.Or(b.left.Reason, shell.Startup), true
}

// Adopt takes over what an earlier host left running, see shell.Process. All that it
// wrote down of a process is compared with that before anything is said to it.
func (b *Backend) Adopt(ctx context.Context) (shell.Information, error) {
	left := b.left
	b.left = nil
	err := b.unfit(left)
	if err == nil {
		err = b.takeOver(ctx, left)
	}
	if err != nil {
		b.mu.Lock()
		t := b.tree
		b.mu.Unlock()
		if t != nil {
			return shell.Information{}, errors.Join(err, b.Stop(ctx))
		}
		return shell.Information{}, errors.Join(err, left.end(b.host.Cgroups), b.host.endLoading(b.runDir()), os.RemoveAll(b.runDir()))
	}
	return b.information(), nil
}

// unfit says what keeps a tree from being taken over, whatever has become of it.
func (b *Backend) unfit(i *instance) error {
	switch {
	case i.Boot != procfs.BootID():
		return fmt.Errorf("%w: by the end of the boot", errLeft)
	case i.Phase == starting:
		return fmt.Errorf("%w while the plugin started", errLeft)
	case i.Phase == ending:
		return fmt.Errorf("%w while the plugin ended", errLeft)
	case i.Bound:
		return fmt.Errorf("%w, and the plugin was to end with it", errLeft)
	case !b.host.Adopt:
		return fmt.Errorf("%w, and on-host-exit is not adopt", errLeft)
	case i.Configuration != checksum(startedWith(b.config())...):
		return errors.New("the plugin was started with another configuration")
	}
	return nil
}

// takeOver makes the running tree the backend's own. After an error, what is to be
// ended is b.tree if there is one, and else in the cgroup.
func (b *Backend) takeOver(ctx context.Context, i *instance) error {
	info := &shellpb.InformationResponse{}
	if err := proto.Unmarshal(i.Information, info); err != nil {
		return err
	}
	loading, err := b.host.rejoin(b.runDir()) // first: the plugin may wait for its memory
	if err != nil {
		return fmt.Errorf("cannot load the rest of its memory: %w", err)
	}
	t, err := b.find(ctx, i)
	if err != nil {
		if loading != nil {
			loading.Leave()
		}
		return err
	}
	t.watch(func(err error) { b.sink.Exited(err) })
	t.await(loading)
	b.mu.Lock()
	b.tree, b.info, b.socket, b.reason = t, info, i.Socket, i.Reason
	b.golden.from = i.Warm.image()
	b.mu.Unlock()
	b.seen.Store(i.Seen)
	if i.Phase != running { // it may have been told that it will sleep
		return b.reconnect(ctx, t, i.Socket, &shellpb.AfterRestoreRequest{Generation: i.Generation})
	}
	if err := b.attach(ctx, t, i.Socket); err != nil {
		return err
	}
	if err := b.inform(ctx); err != nil { // and so finds out who answers
		return b.explain(err)
	}
	b.follow()
	return nil
}

// find makes sure that the tree is the one that was written down, and has it run.
func (b *Backend) find(ctx context.Context, i *instance) (_ *tree, err error) {
	root := i.Root
	if root == 0 {
		root = firstOf(i.Cgroup.Members())
	}
	in := &leaf{Dir: i.Cgroup}
	t := &tree{
		leaf: in, kills: in.OOMKills(), apart: true, adopted: procfs.Parent(root) != os.Getpid(),
		number: i.Number, begun: i.Begun, exited: make(chan struct{}),
	}
	if t.pidfd, err = openPidfd(root); err != nil {
		return nil, fmt.Errorf("the plugin ended while there was no host: %w", err)
	}
	defer func() {
		if err != nil {
			t.pidfd.close()
		}
	}()
	// The descriptor holds the process: if it is the right one now, it stays it.
	if err := sameRoot(i, root); err != nil {
		return nil, err
	}
	if err := pager.Wake(pageout.Tree{PID: root, Cgroup: i.Cgroup}); err != nil { // it may sleep in place
		return nil, err
	}
	if i.Phase != running {
		if err := standAlone(ctx, root, i.Cgroup); err != nil {
			return nil, err
		}
	}
	if t.root, err = os.FindProcess(root); err != nil {
		return nil, err
	}
	t.pid = t.program()
	if now := procfs.ExecutableID(t.pid); i.Executing != "" && now != i.Executing {
		return nil, fmt.Errorf("process %d executes another file than the plugin did", t.pid)
	}
	if t.leaf.fd, err = os.Open(string(i.Cgroup)); err != nil {
		return nil, err
	}
	if t.output, err = output.Open(b.runDir(), b.log, &b.tail); err != nil {
		return nil, errors.Join(err, t.leaf.fd.Close())
	}
	t.output.Start(false)
	return t, nil
}

// sameRoot compares the process that has the root's PID with what was written
// down of the root.
func sameRoot(i *instance, root int) error {
	if i.Started != 0 && procfs.StartTicks(root) != i.Started {
		return fmt.Errorf("process %d is not the plugin's, which has ended while there was no host", root)
	}
	if !slices.Contains(i.Cgroup.Members(), root) {
		return fmt.Errorf("process %d is not in the plugin's cgroup", root)
	}
	return nil
}

// standAlone returns when a tree that was being dumped or restored runs by itself.
func standAlone(ctx context.Context, root int, group cgroup.Dir) error {
	ctx, cancel := context.WithTimeout(ctx, engineLimit)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		engine := group.MembersOutside(root)
		if len(engine) == 0 {
			procfs.Continue(procfs.Tree(root))
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("processes %v of a hibernation that nobody waits for still work on the plugin", engine)
		}
	}
}

// firstOf returns the process that is pid 1 of its namespace and below none of the
// others, 0 when there is none.
func firstOf(pids []int) int {
	for _, pid := range pids {
		if procfs.NSPid(pid) == 1 && !slices.Contains(pids, procfs.Parent(pid)) {
			return pid
		}
	}
	return 0
}

// OutlivesHost reports whether the plugin would run on without this host, see shell.Process.
func (b *Backend) OutlivesHost() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tree != nil && !b.tree.bound
}

// Leave lets go of the running plugin, see shell.Process.
func (b *Backend) Leave(ctx context.Context) error {
	b.mu.Lock()
	t, l := b.tree, b.link
	b.link = nil
	b.mu.Unlock()
	b.router.set(nil)
	if l != nil {
		l.detach()
	}
	_ = b.closeHostSocket(ctx, partingLimit) // what the plugin does not let go is cut
	i, err := b.describe(t, running)
	i.Seen = b.seen.Load()
	if err == nil {
		err = b.write(i)
	}
	b.mu.Lock()
	b.tree = nil
	b.mu.Unlock()
	t.leave()
	return err
}

// rejoin takes over the loading that an earlier host has begun for the instance
// with that run directory, nil when there is none.
func (h Host) rejoin(runDir string) (hibernate.Loading, error) {
	return h.Engine.RejoinLoading(filepath.Join(runDir, loadingName))
}

// endLoading leaves nothing of a loading whose tree has been killed.
func (h Host) endLoading(runDir string) error {
	if loading, _ := h.rejoin(runDir); loading != nil { // there is nothing else that it could fail to do
		loading.Close()
	}
	return os.RemoveAll(filepath.Join(runDir, loadingName))
}

// Sweep ends what an earlier host left of instances that there are no more.
func (h Host) Sweep(callsigns []string) error {
	entries, err := os.ReadDir(h.RunDir)
	if err != nil {
		return err
	}
	var errs []error
	for _, entry := range entries {
		if !entry.IsDir() || slices.Contains(callsigns, entry.Name()) {
			continue
		}
		dir := filepath.Join(h.RunDir, entry.Name())
		left, err := readInstance(dir)
		errs = append(errs, err)
		if left != nil {
			errs = append(errs, left.end(h.Cgroups), h.endLoading(dir), os.RemoveAll(dir))
		}
	}
	return errors.Join(errs...)
}
