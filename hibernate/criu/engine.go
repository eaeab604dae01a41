// Package criu is the hibernate.Engine that works through CRIU, with one CRIU process
// for each dump and each restore. The package knows CRIU's options and traps. It does
// not know what an image is for, and does not decide whether an image may be used.
package criu

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"dormouse/hibernate"
	"dormouse/hibernate/criu/images"
	"dormouse/hibernate/criu/obstacles"
	"dormouse/hibernate/criu/pager"
	"dormouse/internal/procfs"
	"dormouse/internal/timelimit"
)

// Engine dumps and restores with one CRIU executable.
type Engine struct {
	configured string                  // path of the executable, "" for the one that is installed
	program    atomic.Pointer[program] // is replaced when another CRIU is found
	// CheckProgram returns an error if CRIU's executable must not be run, since other users
	// could change it. Nil accepts it.
	CheckProgram func(path string) error
	timing       pager.Timing
	// programFiles is what CRIU runs from, nil before CRIU has restored a tree.
	programFiles atomic.Pointer[[]string]
	// The engine makes its own directories in the finder's HelperDir, too.
	*obstacles.Finder

	trialLock chan struct{} // guards trial; a channel, so that a context can end the wait
	trial     trial
}

var _ hibernate.Engine = (*Engine)(nil)

// Open returns an engine with the CRIU at path, or for "" with the one that is installed
// for this host or in PATH. If CRIU cannot be run, Open still returns an engine, whose
// Check returns the cause. The engine installs its helper executables in helperDir, and
// makes its working directories there.
func Open(path, helperDir string) *Engine {
	e := &Engine{
		configured: path, timing: pager.DefaultTiming, Finder: &obstacles.Finder{HelperDir: helperDir},
		trialLock: make(chan struct{}, 1),
	}
	e.program.Store(findProgram(path))
	return e
}

// Path returns the path of the CRIU executable, "" when none was found.
func (e *Engine) Path() string { return e.program.Load().path }

// WhyNotFound returns why CRIU can't be run at all, nil if it can. Unlike Check it tries nothing.
func (e *Engine) WhyNotFound() error { return e.program.Load().err }

// Name returns "criu" and CRIU's version.
func (e *Engine) Name() string { return "criu " + e.program.Load().version }

// Check dumps and restores a process with inet sockets at the first call, since "criu
// check" finds too little. Later calls return the same answer, but CRIU is tried again
// if its executable was replaced, or if the trial failed and enough time has passed. The error
// wraps hibernate.ErrUnsupported.
func (e *Engine) Check(ctx context.Context) error {
	select {
	case e.trialLock <- struct{}{}:
		defer func() { <-e.trialLock }()
	case <-ctx.Done():
		return fmt.Errorf("%w: %s is still being tried: %w", hibernate.ErrUnsupported, e.Path(), timelimit.EndError(ctx))
	}
	if e.trial.holdsFor(e.program.Load()) {
		return e.trial.err
	}
	if err := e.checkExecutable(); err != nil {
		return fmt.Errorf("%w: %w", hibernate.ErrUnsupported, err)
	}
	if e.trial.done && !e.program.Load().isUnchanged() {
		e.program.Store(findProgram(e.configured))
	}
	err := e.WhyNotFound()
	if err == nil {
		err = e.tryProgram(ctx)
	}
	if err == nil || ctx.Err() == nil {
		e.trial.record(err)
	}
	return err
}

// checkExecutable returns an error if CRIU's executable must not be run.
func (e *Engine) checkExecutable() error {
	path := ExecutablePath(e.configured)
	if e.CheckProgram == nil || path == "" {
		return nil
	}
	if err := e.CheckProgram(path); err != nil {
		return fmt.Errorf("cannot run CRIU: %w", err)
	}
	return nil
}

// trialLimit is how long one trial of CRIU may take.
const trialLimit = 30 * time.Second

// tryProgram dumps and restores a process, within trialLimit.
func (e *Engine) tryProgram(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, trialLimit)
	defer cancel()
	err := e.writeKernelCacheIfNeeded(ctx)
	if cerr := e.testDumpAndRestore(ctx); cerr != nil {
		return fmt.Errorf("%w: %s cannot dump and restore a process here: %w", hibernate.ErrUnsupported, e.Name(), errors.Join(cerr, err))
	}
	return nil
}

// ThreadIdentities implements hibernate.Engine.
func (e *Engine) ThreadIdentities(imageDir string) ([]procfs.ThreadIdentity, error) {
	return images.ReadThreadIdentities(imageDir)
}

// StoppedProcesses implements hibernate.Engine.
func (e *Engine) StoppedProcesses(imageDir string) ([]int, error) {
	return images.ReadStoppedProcesses(imageDir)
}
