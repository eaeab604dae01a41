// Package criu is the hibernate.Engine that works through CRIU, with one CRIU process
// for each dump and each restore. The package knows CRIU's options and traps. It does
// not know what an image is for, and does not decide whether an image may be used.
package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync/atomic"

	"dormouse/hibernate"
	"dormouse/hibernate/criu/images"
	"dormouse/hibernate/criu/obstacles"
	"dormouse/hibernate/criu/pager"
	"dormouse/internal/procfs"
)

// Engine dumps and restores with one CRIU executable.
type Engine struct {
	path    string // of the executable
	version string
	findErr error // why CRIU can't be run, nil if it can
	timing  pager.Timing
	// programFiles is what CRIU runs from, nil before CRIU has restored a tree.
	programFiles atomic.Pointer[[]string]
	// The engine makes its own directories in the finder's HelperDir, too.
	*obstacles.Finder

	checkLock chan struct{} // guards the fields below; a channel, so that a context can end the wait
	checked   bool          // Check has an answer
	checkErr  error         // the answer
}

var _ hibernate.Engine = (*Engine)(nil)

// Open returns an engine with the CRIU at path, or for "" with the one that is installed
// for this host or in PATH. If CRIU cannot be run, Open still returns an engine, whose
// Check returns the cause. The engine installs its helper executables in helperDir, and
// makes its working directories there.
func Open(path, helperDir string) *Engine {
	e := &Engine{
		path: path, timing: pager.DefaultTiming, Finder: &obstacles.Finder{HelperDir: helperDir},
		checkLock: make(chan struct{}, 1),
	}
	e.findErr = e.findCRIUAndVersion()
	e.checkErr, e.checked = e.findErr, e.findErr != nil
	return e
}

// findCRIUAndVersion sets the path, unless it is set, and the version of CRIU. The error wraps
// hibernate.ErrUnsupported if CRIU cannot be run or this process is not root.
func (e *Engine) findCRIUAndVersion() (err error) {
	if e.path == "" {
		e.path = findInstalledCRIU()
	}
	if e.path == "" {
		return fmt.Errorf("%w: CRIU is not installed: run make setup, or set [hibernate] criu to its path", hibernate.ErrUnsupported)
	}
	if e.version, err = askCRIUVersion(e.path); err != nil {
		return fmt.Errorf("%w: cannot run %s: %w", hibernate.ErrUnsupported, e.path, err)
	}
	if os.Geteuid() != 0 {
		return fmt.Errorf("%w: it needs root", hibernate.ErrUnsupported)
	}
	return nil
}

// Path returns the path of the CRIU executable, "" when none was found.
func (e *Engine) Path() string { return e.path }

// WhyNotFound returns why CRIU can't be run at all, nil if it can. Unlike Check it tries nothing.
func (e *Engine) WhyNotFound() error { return e.findErr }

// Name returns "criu" and CRIU's version.
func (e *Engine) Name() string { return "criu " + e.version }

// Check dumps and restores a process with inet sockets at the first call, since "criu
// check" finds too little. Later calls return the same answer, unless ctx ended before
// there was one. The error wraps hibernate.ErrUnsupported.
func (e *Engine) Check(ctx context.Context) error {
	select {
	case e.checkLock <- struct{}{}:
		defer func() { <-e.checkLock }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %s is still being tried: %w", hibernate.ErrUnsupported, e.path, ctx.Err())
	}
	if e.checked {
		return e.checkErr
	}
	err := e.writeKernelCacheIfNeeded(ctx)
	if cerr := e.testDumpAndRestore(ctx); cerr != nil {
		err = fmt.Errorf("%w: %s cannot dump and restore a process here: %w", hibernate.ErrUnsupported, e.Name(), errors.Join(cerr, err))
		if ctx.Err() != nil {
			return err
		}
		e.checkErr = err
	}
	e.checked = true
	return e.checkErr
}

// ThreadIdentities implements hibernate.Engine.
func (e *Engine) ThreadIdentities(imageDir string) ([]procfs.ThreadIdentity, error) {
	return images.ReadThreadIdentities(imageDir)
}

// StoppedProcesses implements hibernate.Engine.
func (e *Engine) StoppedProcesses(imageDir string) ([]int, error) {
	return images.ReadStoppedProcesses(imageDir)
}
