package process

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/hibernate/pageout"
	"dormouse/internal/cgroup"
	"dormouse/internal/failpoint"
	"dormouse/internal/procfs"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// pager has no state, and so every backend shares it.
var pager pageout.Engine

// Hibernate puts the plugin to sleep as its configuration says, see
// shell.Process.
func (b *Backend) Hibernate(ctx context.Context) error {
	first, second := b.checkpoint, b.pageOut
	c := b.config()
	switch {
	case c.Sleep == configs.SleepPageOut:
		return b.pageOut(ctx)
	case c.Sleep == configs.SleepCheckpoint:
		return b.checkpoint(ctx)
	case c.CheckpointAfter != nil:
		first, second = second, first
	}
	err := first(ctx)
	if !impossible(err) || c.CheckpointAfter == nil && pager.Check(ctx) != nil {
		return err
	}
	b.log.Info().Err(err).Msg("goes to sleep the other way")
	if serr := second(ctx); serr != nil {
		return fmt.Errorf("%w; nor can it sleep the other way: %w", err, serr)
	}
	return nil
}

// impossible tells whether err means that this kind of sleep can't be had, and that
// the plugin runs on as before.
func impossible(err error) bool {
	causes := []error{hibernate.ErrUnsupported, hibernate.ErrObstacle, hibernate.ErrSpace, pageout.ErrStays}
	return !errors.Is(err, shell.ErrExited) && slices.ContainsFunc(causes, func(cause error) bool { return errors.Is(err, cause) })
}

// MoveToDisk replaces sleep in place by an image, see shell.Process. What is certain
// to fail is refused before the plugin is disturbed.
func (b *Backend) MoveToDisk(ctx context.Context) error {
	b.mu.Lock()
	t := b.tree
	b.mu.Unlock()
	if t.ended() {
		return fmt.Errorf("cannot checkpoint: %w", t.exitError())
	}
	if b.config().Sleep == configs.SleepPageOut {
		return fmt.Errorf("cannot checkpoint: %w: it is configured to be paged out", shell.ErrNotSupported)
	}
	if err := b.host.Engine.Check(ctx); err != nil {
		return fmt.Errorf("cannot checkpoint: %w: %w", shell.ErrNotSupported, err)
	}
	if err := hibernate.Preflight(b.host.Engine, b.imageDir, t.root.Pid); err != nil {
		return fmt.Errorf("cannot checkpoint: %w", err)
	}
	err := b.rouse(t)
	if err == nil {
		err = b.checkpoint(ctx)
	}
	if err == nil || errors.Is(err, shell.ErrExited) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(b.config().CallTimeout))
	defer cancel()
	if perr := b.pageOut(ctx); perr != nil {
		return fmt.Errorf("%w; %w: %w", err, shell.ErrAwake, perr)
	}
	return err
}

// pageOut puts the tree to sleep in place. The connections to it stay, and its
// hooks are not called: it loses nothing that it would have to get back.
func (b *Backend) pageOut(ctx context.Context) error {
	b.mu.Lock()
	t := b.tree
	b.mu.Unlock()
	if err := t.loaded(ctx); err != nil { // what is still to come could not be paged out
		return fmt.Errorf("cannot page out: %w", err)
	}
	account, err := pager.Sleep(ctx, pageout.Tree{PID: t.root.Pid, Cgroup: t.cgroup()})
	switch {
	case t.ended():
		return t.exitError()
	case errors.Is(err, hibernate.ErrUnsupported):
		return fmt.Errorf("cannot page out: %w: %w", shell.ErrNotSupported, err)
	case err != nil:
		return fmt.Errorf("cannot page out: %w", err)
	}
	b.mu.Lock()
	b.image = &hibernate.Image{Engine: pager.Name(), Bytes: account.Swapped, Created: time.Now().Round(0), InPlace: true}
	b.mu.Unlock()
	b.log.Debug().Int64("before", account.Before).Int64("resident", account.Resident).Int64("swapped", account.Swapped).Msg("paged out")
	return nil
}

// rouse lets a tree run on that sleeps in place.
func (b *Backend) rouse(t *tree) error {
	if t.ended() {
		return t.exitError()
	}
	return pager.Wake(pageout.Tree{PID: t.root.Pid, Cgroup: t.cgroup()})
}

// HibernationObstacle returns what would stop a hibernation, see shell.Process.
func (b *Backend) HibernationObstacle() error {
	b.mu.Lock()
	t := b.tree
	b.mu.Unlock()
	if t == nil {
		return nil
	}
	return hibernate.Preflight(b.host.Engine, b.imageDir, t.root.Pid)
}

// checkpoint turns the plugin's tree into an image.
func (b *Backend) checkpoint(ctx context.Context) error {
	b.mu.Lock()
	t := b.tree
	b.mu.Unlock()
	if err := t.loaded(ctx); err != nil { // a dump would lack the rest
		return fmt.Errorf("cannot hibernate: %w", err)
	}
	image, err := hibernate.Checkpoint(ctx, b.host.Engine, b.imageDir, sleeper{b, t, hibernating, running})
	if errors.Is(err, hibernate.ErrUnsupported) {
		return fmt.Errorf("%w: %w", shell.ErrNotSupported, err)
	}
	if err != nil {
		return err
	}
	failpoint.Hit("hibernate.killed")
	b.mu.Lock()
	b.image, b.tree = image, nil
	b.mu.Unlock()
	b.forget()
	return nil
}

// EndSleep gives the image up, see shell.Process.
func (b *Backend) EndSleep(ctx context.Context) error {
	b.mu.Lock()
	image := b.image
	b.image = nil
	b.mu.Unlock()
	switch {
	case image == nil:
		return hibernate.ErrNoImage
	case image.InPlace:
		return b.Stop(ctx)
	}
	return errors.Join(image.Invalidate(), b.Stop(ctx))
}

// Sleep describes how the plugin sleeps, see shell.Process.
func (b *Backend) Sleep() *shell.Sleep {
	i := b.currentImage()
	if i == nil {
		return nil
	}
	kind := shell.Stored
	if i.InPlace {
		kind = shell.InPlace
	}
	return &shell.Sleep{Kind: kind, Engine: i.Engine, Bytes: i.Bytes, Since: i.Created, Generation: i.Generation}
}

// currentImage returns the committed image, nil when the plugin does not sleep.
func (b *Backend) currentImage() *hibernate.Image {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.image
}

// HibernationProgress compares what is written or loaded with what there is, see
// shell.Process.
func (b *Backend) HibernationProgress() shell.Progress {
	b.mu.Lock()
	t, image := b.tree, b.image
	b.mu.Unlock()
	switch {
	case image != nil && t != nil:
		return shell.Progress{Done: min(procfs.RSS(t.pids()), image.Bytes), Total: image.Bytes}
	case image != nil:
		return shell.Progress{Done: min(procfs.RSS(b.host.Cgroups.members(b.place)), image.Bytes), Total: image.Bytes}
	case t != nil:
		return shell.Progress{Done: b.imageDir.DraftBytes(), Total: procfs.PSS(t.pids())}
	}
	return shell.Progress{}
}

func (b *Backend) hasHooks() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.serves(shellpb.HooksService)
}

// sleeper is the running tree as a checkpoint sees it.
type sleeper struct {
	b *Backend
	t *tree
	// In these phases the next host would find it: while it goes to sleep, and after
	// a sleep that came to nothing.
	during, after phase
}

var _ hibernate.Tree = sleeper{}

func (s sleeper) PID() int { return s.t.root.Pid }

func (s sleeper) Cgroup() cgroup.Dir { return s.t.cgroup() }

// Quiesce runs the plugin's hook and cuts the connections, to it and from it.
func (s sleeper) Quiesce(ctx context.Context) error {
	if err := s.b.enter(s.t, s.during); err != nil {
		return err
	}
	if s.b.hasHooks() {
		if _, err := s.b.hooks.BeforeCheckpoint(ctx, &shellpb.BeforeCheckpointRequest{}); err != nil {
			return fmt.Errorf("the plugin's BeforeCheckpoint failed: %w", s.b.explain(fromStatus(err)))
		}
	}
	if err := s.b.closeHostSocket(ctx, partingLimit); err != nil {
		return err
	}
	return s.b.disconnect(ctx)
}

// Revive connects to the plugin again. A plugin that can't be reached any more
// is ended: it must not be taken for an active one.
func (s sleeper) Revive(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(s.b.config().CallTimeout))
	defer cancel()
	if s.t.ended() {
		return s.t.exitError()
	}
	err := s.b.disconnect(ctx)
	if err == nil {
		s.b.mu.Lock()
		socket := s.b.socket
		s.b.mu.Unlock()
		err = s.b.reconnect(ctx, s.t, socket, &shellpb.AfterRestoreRequest{})
	}
	if err == nil {
		err = s.b.enter(s.t, s.after)
	}
	if err != nil && !s.t.ended() {
		s.t.expectEnd()
		s.t.kill()
		err = fmt.Errorf("%w: the host ended it, since it did not come back from the attempt: %w", shell.ErrExited, err)
	}
	return err
}

// Kill ends the tree, whose image is the truth now.
func (s sleeper) Kill(context.Context) {
	if err := s.t.end(); err != nil {
		s.b.log.Warn().Err(err).Msg("a hibernated plugin left something behind")
	}
}

// Record says how to find the plugin again.
func (s sleeper) Record() (any, error) { return s.record() }
