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
	"dormouse/shell"
)

// pager has no state, and so every backend shares it.
var pager pageout.Engine

// Hibernate puts the plugin to sleep as its configuration says, see
// shell.Hibernator.
func (b *Backend) Hibernate(ctx context.Context) error {
	first, second := b.checkpoint, b.pageOut
	switch {
	case b.config.Sleep == configs.SleepPageOut:
		return b.pageOut(ctx)
	case b.config.Sleep == configs.SleepCheckpoint:
		return b.checkpoint(ctx)
	case b.config.CheckpointAfter != nil:
		first, second = second, first
	}
	err := first(ctx)
	if !impossible(err) || b.config.CheckpointAfter == nil && pager.Check(ctx) != nil {
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

// Deepen replaces sleep in place by an image, see shell.Deepener. What is certain
// to fail is refused before the plugin is disturbed.
func (b *Backend) Deepen(ctx context.Context) error {
	b.mu.Lock()
	t := b.tree
	b.mu.Unlock()
	if t.ended() {
		return fmt.Errorf("cannot checkpoint: %w", t.exitError())
	}
	if b.config.Sleep == configs.SleepPageOut {
		return fmt.Errorf("cannot checkpoint: %w: it is configured to be paged out", shell.ErrNotSupported)
	}
	if err := b.host.Engine.Check(ctx); err != nil {
		return fmt.Errorf("cannot checkpoint: %w: %w", shell.ErrNotSupported, err)
	}
	if err := hibernate.Preflight(b.host.Engine, b.slot, t.root.Pid); err != nil {
		return fmt.Errorf("cannot checkpoint: %w", err)
	}
	err := b.rouse(t)
	if err == nil {
		err = b.checkpoint(ctx)
	}
	if err == nil || errors.Is(err, shell.ErrExited) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Duration(b.config.CallTimeout))
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
