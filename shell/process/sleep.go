package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/hibernate/pageout"
	"dormouse/internal/cgroup"
	"dormouse/internal/failpoint"
	"dormouse/internal/procfs"
	"dormouse/internal/timelimit"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// pageOut puts trees to sleep in place. The engine has no state, so all backends share
// it.
var pageOut pageout.Engine

// Hibernate puts the plugin to sleep in the way that its configuration asks for, see
// shell.Process. With sleep = "auto" it tries the other way if the first is impossible.
func (b *Backend) Hibernate(ctx context.Context) error {
	first, second := b.checkpointAndKillTree, b.sleepInPlace
	c := b.config()
	switch {
	case c.Sleep == configs.SleepPageOut:
		return b.sleepInPlace(ctx)
	case c.Sleep == configs.SleepCheckpoint:
		return b.checkpointAndKillTree(ctx)
	case c.CheckpointAfter != nil:
		first, second = second, first
	}
	err := first(ctx)
	if !isSleepImpossible(err) || c.CheckpointAfter == nil && pageOut.Check(ctx) != nil {
		return err
	}
	b.log.Info().Err(err).Msg("cannot sleep in this way, tries the other")
	if serr := second(ctx); serr != nil {
		return fmt.Errorf("%w; the other way fails too: %w", err, serr)
	}
	return nil
}

// isSleepImpossible reports whether err says that the plugin runs on as before, and can't
// sleep in the way that was tried.
func isSleepImpossible(err error) bool {
	causes := []error{hibernate.ErrUnsupported, hibernate.ErrObstacle, hibernate.ErrSpace, pageout.ErrStays}
	return !errors.Is(err, shell.ErrExited) && slices.ContainsFunc(causes, func(cause error) bool { return errors.Is(err, cause) })
}

// checkpointAndKillTree turns the tree into an image on disk: it waits until all memory
// is loaded, dumps and kills the tree, and removes the journal. After an error the
// plugin runs as before, unless the error wraps shell.ErrExited.
func (b *Backend) checkpointAndKillTree(ctx context.Context) error {
	t := b.currentLife().tree
	if err := t.hurryAndWaitLoaded(ctx); err != nil { // a dump would lack what is not loaded
		return fmt.Errorf("cannot hibernate: %w", err)
	}
	image, err := hibernate.Checkpoint(ctx, b.host.Engine, b.imageDir, checkpointTree{b, t, phaseHibernating, phaseRunning})
	if errors.Is(err, hibernate.ErrUnsupported) {
		return fmt.Errorf("cannot hibernate: %w: %w", shell.ErrNotSupported, err)
	}
	if err != nil {
		return err
	}
	failpoint.Hit("hibernate.killed")
	b.setLife(life{state: lifeStored, image: image})
	b.removeJournal()
	return nil
}

// sleepInPlace freezes the tree and pages its memory out, once all memory is loaded. The
// connections to the plugin stay, and its hooks are not called: the plugin loses nothing.
// The error wraps shell.ErrExited if the tree has ended.
func (b *Backend) sleepInPlace(ctx context.Context) error {
	t := b.currentLife().tree
	if err := t.hurryAndWaitLoaded(ctx); err != nil { // memory that is not loaded can't be paged out
		return fmt.Errorf("cannot page out: %w", err)
	}
	b.waitForEvents(ctx)
	account, err := pageOut.Sleep(ctx, pageout.Tree{PID: t.root.Pid, Cgroup: t.cgroup()})
	switch {
	case t.hasEnded():
		return t.waitExitError()
	case errors.Is(err, hibernate.ErrUnsupported):
		return fmt.Errorf("cannot page out: %w: %w", shell.ErrNotSupported, err)
	case err != nil:
		return fmt.Errorf("cannot page out: %w", err)
	}
	now := b.currentLife()
	now.state = lifeFrozen
	now.sleep = shell.Sleep{Kind: shell.InPlace, Engine: pageOut.Name(), Bytes: account.Swapped, Since: time.Now().Round(0)}
	b.setLife(now)
	b.log.Debug().Int64("before", account.Before).Int64("resident", account.Resident).Int64("swapped", account.Swapped).Msg("paged out")
	return nil
}

// thaw lets a tree that sleeps in place run again. It returns how the tree ended if it has.
func thaw(t *tree) error {
	if t.hasEnded() {
		return t.waitExitError()
	}
	return pageOut.Wake(pageout.Tree{PID: t.root.Pid, Cgroup: t.cgroup()})
}

// MoveToDisk replaces a sleep in place by an image, see shell.Process. It looks for
// obstacles before it thaws the plugin, and pages the plugin out again if the checkpoint
// fails.
func (b *Backend) MoveToDisk(ctx context.Context) error {
	t := b.currentLife().tree
	if t.hasEnded() {
		return fmt.Errorf("cannot checkpoint: %w", t.waitExitError())
	}
	if b.config().Sleep == configs.SleepPageOut {
		return fmt.Errorf("cannot checkpoint: %w: it is configured to be paged out", shell.ErrNotSupported)
	}
	if err := b.host.Engine.Check(ctx); err != nil {
		return fmt.Errorf("cannot checkpoint: %w: %w", shell.ErrNotSupported, err)
	}
	if err := hibernate.PreflightCheckpoint(b.host.Engine, b.imageDir, t.root.Pid); err != nil {
		return fmt.Errorf("cannot checkpoint: %w", err)
	}
	err := thaw(t)
	if err == nil {
		err = b.checkpointAndKillTree(ctx)
	}
	if err == nil || errors.Is(err, shell.ErrExited) {
		return err
	}
	ctx, cancel := timelimit.With(context.WithoutCancel(ctx), time.Duration(b.config().CallTimeout))
	defer cancel()
	if perr := b.sleepInPlace(ctx); perr != nil {
		return fmt.Errorf("%w; %w: %w", err, shell.ErrAwake, perr)
	}
	return err
}

// HibernationObstacle returns an obstacle that is certain to make a checkpoint fail now,
// nil if none is known or there is no tree, see shell.Process.
func (b *Backend) HibernationObstacle() (obstacle error) {
	t := b.currentLife().tree
	if t == nil {
		return nil
	}
	return hibernate.PreflightCheckpoint(b.host.Engine, b.imageDir, t.root.Pid)
}

// HibernationProgress returns how many bytes of memory are written or loaded so far, and
// how many there are, see shell.Process.
func (b *Backend) HibernationProgress() shell.Progress {
	loaded := func(pids []int, total int64) shell.Progress {
		return shell.Progress{Done: min(procfs.RSS(pids), total), Total: total}
	}
	switch l := b.currentLife(); {
	case l.state == lifeRunning:
		return shell.Progress{Done: b.imageDir.DraftBytes(), Total: procfs.PSS(l.tree.pids())}
	case l.state == lifeFrozen:
		return loaded(l.tree.pids(), l.sleep.Bytes)
	case l.state == lifeWaking && l.tree != nil: // the image is restored, and more
		return loaded(l.tree.pids(), l.image.Bytes)
	case l.state == lifeWaking, l.state == lifeStored:
		if l.image == nil {
			return shell.Progress{}
		}
		return loaded(b.host.Cgroups.pidsOf(b.dirName), l.image.Bytes)
	default:
		return shell.Progress{}
	}
}

// EndWithoutWake makes the image unusable, or kills the frozen tree, and clears the run
// directory, see shell.Process. It returns hibernate.ErrNoImage if the plugin does not
// sleep.
func (b *Backend) EndWithoutWake(ctx context.Context) error {
	switch l := b.currentLife(); l.state {
	case lifeFrozen:
		return b.killAndStop(ctx)
	case lifeStored:
		b.setLife(life{})
		end := b.imageDir.InvalidateAndDeleteUnread
		if l.image != nil {
			end = l.image.InvalidateAndDelete
		}
		return errors.Join(end(), b.Stop(ctx))
	default:
		return hibernate.ErrNoImage
	}
}

// checkpointTree is the running tree as a checkpoint sees it.
type checkpointTree struct {
	b *Backend
	t *tree
	// during is the phase in the journal while the checkpoint runs, after the phase once
	// the checkpoint has failed.
	during, after phase
}

var _ hibernate.Tree = checkpointTree{}

// PID returns the PID of the root in the host's namespace.
func (c checkpointTree) PID() int { return c.t.root.Pid }

// Cgroup returns the cgroup of the tree, "" without cgroups.
func (c checkpointTree) Cgroup() cgroup.Dir { return c.t.cgroup() }

// Quiesce writes the journal, calls the plugin's BeforeCheckpoint, closes the connections
// in both directions, and returns when the plugin has closed them, too.
func (c checkpointTree) Quiesce(ctx context.Context) error {
	if err := c.b.writeTreeJournal(c.t, c.during); err != nil {
		return err
	}
	c.b.waitForEvents(ctx)
	if c.b.servesHooks() {
		if _, err := c.b.hooks.BeforeCheckpoint(ctx, &shellpb.BeforeCheckpointRequest{}); err != nil {
			return fmt.Errorf("the plugin's BeforeCheckpoint failed: %w", c.b.waitForExitErrorOr(shellErrorFromGRPC(err)))
		}
	}
	if err := c.b.closeHostSocketAndConns(ctx, pluginDisconnectLimit); err != nil {
		return err
	}
	c.b.closeLinkAndWait()
	return waitDisconnected(ctx, c.t.socket)
}

// Revive connects to the plugin again after a failed checkpoint, within the call timeout,
// and writes the journal. It kills a plugin that can't be reached, which must not be taken
// for an active one; the error then wraps shell.ErrExited.
func (c checkpointTree) Revive(ctx context.Context) error {
	ctx, cancel := timelimit.With(ctx, time.Duration(c.b.config().CallTimeout))
	defer cancel()
	if c.t.hasEnded() {
		return c.t.waitExitError()
	}
	c.b.closeLinkAndWait()
	err := c.b.reconnectAndFollowReports(ctx, c.t, &shellpb.AfterRestoreRequest{})
	if err == nil {
		err = c.b.writeTreeJournal(c.t, c.after)
	}
	if err != nil && !c.t.hasEnded() {
		c.t.killUnreported()
		err = fmt.Errorf("%w: the host ended it, since it did not answer after the failed checkpoint: %w", shell.ErrExited, err)
	}
	return err
}

// Kill destroys the tree after its image is published. A failure is logged.
func (c checkpointTree) Kill(context.Context) {
	if err := c.b.killAndReleaseTree(c.t); err != nil {
		c.b.log.Warn().Err(err).Msg("a hibernated plugin left something behind")
	}
}

// OwnerRecord returns the imageNote for the manifest.
func (c checkpointTree) OwnerRecord() (any, error) { return c.imageNote() }

// imageNote returns what a wake of the tree needs beside the image's files.
func (c checkpointTree) imageNote() (imageNote, error) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	info, err := proto.Marshal(c.b.info)
	return imageNote{
		Socket: c.t.socket, Output: c.t.output.EngineKeys(), ProgramNSPid: c.t.programNSPid, Information: info, Bound: c.t.bound,
		Configuration: c.b.startedWith, Limits: c.b.startConfig.Limits, Places: c.b.places(),
	}, err
}
