package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"dormouse/hibernate"
	"dormouse/hibernate/criu/images"
	"dormouse/hibernate/criu/pager"
	"dormouse/internal/uffd"
)

// RestoreLazy implements hibernate.Engine. CRIU leaves out the memory that can come
// later, and a pager loads it into the tree.
func (e *Engine) RestoreLazy(ctx context.Context, r hibernate.RestoreOrder, m hibernate.Memory) (*os.Process, hibernate.Loading, error) {
	layout, err := checkUffdAndReadLayout(r.Dir)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%w before the memory is read: %w", hibernate.ErrUnsupported, err), m.Close())
	}
	if r.ProvideChunk != nil {
		if err := layout.ForEachEagerChunk(r.ProvideChunk); err != nil {
			return nil, nil, errors.Join(err, m.Close())
		}
	}
	p, err := pager.New(layout, r, m, e.HelperDir, e.timing)
	if err != nil {
		return nil, nil, err
	}
	ctx, stop := cancelWhenPagerFails(ctx, p)
	defer stop()
	tree := &restoredTree{group: r.Cgroup}
	root, err := e.restoreStopped(ctx, r, tree, p)
	rootPID := 0
	if err == nil {
		rootPID = root.Pid
	}
	if cerr := p.VerifyAndSecureRestore(ctx, rootPID); cerr != nil {
		err = errors.Join(cerr, err)
	}
	if err != nil {
		err = errors.Join(err, tree.killTreeAndHelpers())
		// After the end of the tree, which would read zeros in place of its memory.
		p.Close()
		if cause := p.Err(); !errors.Is(err, cause) { // VerifyAndSecureRestore may have returned it
			err = errors.Join(cause, err)
		}
		return nil, nil, err
	}
	tree.around.Succeed()
	return root, p, nil
}

// checkUffdAndReadLayout returns where the memory lies in the image in dir, or an error if a
// lazy restore is not possible because the kernel has no userfaultfd(2).
func checkUffdAndReadLayout(dir string) (images.Layout, error) {
	if err := uffd.CheckSupport(); err != nil {
		return images.Layout{}, err
	}
	return images.ReadLayout(dir)
}

// cancelWhenPagerFails returns a context that also ends when the pager fails: otherwise
// CRIU could wait for its memory for ever. The caller must call stop.
func cancelWhenPagerFails(ctx context.Context, p hibernate.Loading) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		select {
		case <-p.Done():
			if p.Err() != nil {
				cancel()
			}
		case <-ctx.Done():
		}
	})
	return ctx, func() { cancel(); watch.Wait() }
}

// RejoinLoading implements hibernate.Engine: it connects to the loader in loaderDir.
func (e *Engine) RejoinLoading(loaderDir string) (unfinished hibernate.Loading, err error) {
	return pager.RejoinLoader(loaderDir)
}
