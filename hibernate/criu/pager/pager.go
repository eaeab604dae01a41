// Package pager loads memory into a restored tree that runs already: each page when the
// tree touches it, and all other pages meanwhile, see userfaultfd(2). It does so in this
// process, or in a loader, a process that may outlive this one. The package does not
// know how CRIU is run, or where the memory comes from.
package pager

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/hibernate/criu/images"
)

// Pager loads the memory of one tree.
type Pager interface {
	hibernate.Loading
	// RunRestoreAndServe calls restore, a lazy restore, and meanwhile takes over the address
	// spaces that CRIU makes. It returns the errors of both. workDirFD is a descriptor of
	// CRIU's working directory, where CRIU expects the pager's socket.
	RunRestoreAndServe(ctx context.Context, workDirFD int32, restore func() error) error
	// VerifyAndSecureRestore returns an error if the memory that CRIU has read itself is not
	// as it was dumped. After success the tree below rootPID reads its own memory only, even if this process or the loader is killed. rootPID is 0 if the restore has
	// failed.
	VerifyAndSecureRestore(ctx context.Context, rootPID int) error
}

// loadState is how far a pager is, the part of hibernate.Loading that all pagers share.
type loadState struct {
	loaded, total atomic.Int64 // bytes
	done          chan struct{}
	err           error // set before done is closed
}

// Done implements hibernate.Loading.
func (s *loadState) Done() <-chan struct{} { return s.done }

// Err implements hibernate.Loading.
func (s *loadState) Err() error {
	select {
	case <-s.done:
		return s.err
	default:
		return nil
	}
}

// Progress implements hibernate.Loading.
func (s *loadState) Progress() (loadedBytes, totalBytes int64) {
	return s.loaded.Load(), s.total.Load()
}

// Timing says when the pager loads memory that no thread waits for.
type Timing struct {
	// Quiet is how long no thread must have waited for memory before the rest is loaded.
	Quiet time.Duration
	// Patience is how long after the restore the rest is loaded in any case.
	Patience time.Duration
}

// DefaultTiming is the Timing of a host. It leaves the processor to the first calls after
// a wake.
var DefaultTiming = Timing{Quiet: 20 * time.Millisecond, Patience: 500 * time.Millisecond}

// New returns a pager for the image that r restores. The pager runs in this process, or in a
// loader if r.LoaderDir is set, which RunRestoreAndServe starts. Helper executables are
// installed in helperDir. The pager closes m, also after an error.
func New(l images.Layout, r hibernate.RestoreOrder, m hibernate.Memory, helperDir string, timing Timing) (Pager, error) {
	if r.LoaderDir == "" {
		p, err := startLocalPager(l, m, helperDir, timing)
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		return p, nil
	}
	c := newUnstartedLoaderClient()
	c.dir, c.imageDir, c.memory = r.LoaderDir, r.Dir, m
	c.order = loadOrder{Programs: helperDir, Quiet: timing.Quiet, Patience: timing.Patience}
	return c, nil
}

// verifyEagerChunks reads, and so verifies, all chunks with memory that CRIU reads itself.
// The error wraps hibernate.ErrRefused if one of them is damaged.
func verifyEagerChunks(l images.Layout, m hibernate.Memory) error {
	buffer, err := mmapChunkBuffer()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(buffer) }()
	return l.ForEachEagerChunk(func(file string, index int64) error {
		_, err := m.ReadVerifiedChunk(file, index, buffer)
		return err
	})
}

var pageSize = uint64(os.Getpagesize())
