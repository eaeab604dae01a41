package criu

import (
	"context"
	"errors"
	"fmt"
	"os"

	"dormouse/hibernate"
	"dormouse/hibernate/criu/images"
	"dormouse/hibernate/criu/pager"
	"dormouse/internal/uffd"
)

// RestoreLazy restores a tree whose memory a pager loads while it runs. CRIU itself
// restores only the memory that cannot come later. See hibernate.Engine.
func (e *Engine) RestoreLazy(ctx context.Context, r hibernate.Restore, m hibernate.Memory) (*os.Process, hibernate.Loading, error) {
	var layout images.Layout
	err := uffd.Available()
	if err == nil {
		layout, err = images.ReadLayout(r.Dir)
	}
	if err == nil {
		if err := provideEager(layout, r.Provide); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("cannot restore: %w", err), m.Close())
		}
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%w before the memory is read: %w", hibernate.ErrUnsupported, err), m.Close())
	}
	p, err := pager.Start(layout, r, m, e.programs, e.timing)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot restore: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { // if the pager fails, CRIU could wait for memory for ever
		defer close(watched)
		select {
		case <-p.Done():
			if p.Err() != nil {
				cancel()
			}
		case <-ctx.Done():
		}
	}()
	defer func() {
		cancel()
		<-watched
	}()
	opts := restoreOptions()
	opts.LazyPages = new(true)
	made := &restored{group: r.Cgroup}
	root, err := e.restore(ctx, r, made, operation{opts: opts, attend: func(dir int32, request func() error) error {
		return p.ServeRestore(ctx, dir, request)
	}})
	alive := 0
	if err == nil {
		alive = root.Pid
	}
	if cerr := p.Confirm(ctx, e.programs, alive); cerr != nil {
		err = errors.Join(cerr, err)
	}
	if err != nil {
		err = errors.Join(err, made.end())
		p.Close() // after the end of the tree, which would take zeros for its memory
		return nil, nil, errors.Join(p.Err(), err)
	}
	return root, p, nil
}

// provideEager calls provide, if given, for each chunk that CRIU reads itself.
func provideEager(l images.Layout, provide func(file string, index int64) error) error {
	if provide == nil {
		return nil
	}
	for file, chunks := range l.Eager {
		for _, index := range chunks {
			if err := provide(file, index); err != nil {
				return err
			}
		}
	}
	return nil
}

// RejoinLoading connects to the loader that an earlier host started in dir, see
// hibernate.Engine.
func (e *Engine) RejoinLoading(dir string) (hibernate.Loading, error) { return pager.Rejoin(dir) }
