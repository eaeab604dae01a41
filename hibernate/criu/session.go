package criu

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/checkpoint-restore/go-criu/v7/rpc"

	"dormouse/hibernate"
	"dormouse/hibernate/criu/outside"
	"dormouse/internal/cgroup"
	"dormouse/internal/filenames"
	"dormouse/internal/ownedtree"
	"dormouse/internal/timelimit"
)

// session is a CRIU process for one criuRequest, from its start to its end, and the
// directory in which CRIU works.
type session struct {
	started chan struct{} // closed when startSessionInBackground has set what follows
	err     error         // why CRIU did not start
	dir     string
	criu    *criuProcess
	closing sync.Once
}

// Prestart implements hibernate.Engine. It returns a session.
func (e *Engine) Prestart(group cgroup.Dir, files []hibernate.Inherited) hibernate.Prestarted {
	return e.startSessionInBackground(group, inheritedFiles(files))
}

// startSessionInBackground begins to start CRIU as startCRIU does, and does not wait for that.
func (e *Engine) startSessionInBackground(group cgroup.Dir, files []*os.File) *session {
	s := &session{started: make(chan struct{})}
	go func() {
		defer close(s.started)
		if s.err = e.checkExecutable(); s.err == nil {
			s.dir, s.err = os.MkdirTemp(e.HelperDir, workPrefix)
		}
		if s.err == nil {
			s.criu, s.err = startCRIU(e.Path(), group, files)
		}
	}()
	return s
}

// takeOrStartSession returns prestarted, or a new session if that is nil. The caller must
// call end after the request; end closes a new session and leaves prestarted to its owner.
func (e *Engine) takeOrStartSession(prestarted hibernate.Prestarted, group cgroup.Dir, files []*os.File) (s *session, end func()) {
	if s, ok := prestarted.(*session); ok {
		return s, func() {}
	}
	s = e.startSessionInBackground(group, files)
	return s, s.Close
}

// closeLimit is how long Close waits for CRIU.
const closeLimit = exitLimit + killLimit

// Close implements hibernate.Prestarted. It returns when CRIU has ended, and removes the
// session's directory. If CRIU neither starts nor ends within closeLimit, since it waits for
// the kernel, that is done in the background when it does.
func (s *session) Close() {
	s.closing.Do(func() {
		closed := make(chan struct{})
		go func() {
			defer close(closed)
			<-s.started
			if s.criu != nil {
				s.criu.endOrKillAndWait()
			}
			if s.dir != "" {
				_ = ownedtree.Remove(s.dir) // if that fails, KillAndRemoveLeftovers removes it
			}
		}()
		late := time.NewTimer(closeLimit)
		defer late.Stop()
		select {
		case <-closed:
		case <-late.C:
		}
	})
}

// criuRequest is one dump or restore that CRIU is to carry out.
type criuRequest struct {
	kind   rpc.CriuReqType
	images string // the directory
	opts   *rpc.CriuOpts
	notify func(*rpc.CriuNotify) // is called with each notification of CRIU's; may be nil
	// serve calls request, and meanwhile serves CRIU on a socket in the session's
	// directory, given as a descriptor; may be nil.
	serve func(ctx context.Context, dirFD int32, request func() error) error
}

// runRequestOnce waits until CRIU has started and has it carry the request out. If that
// fails, runRequestOnce returns the first errors in CRIU's log, or the error of ctx, and has
// closed the session. It can be called once.
func (s *session) runRequestOnce(ctx context.Context, r criuRequest) (err error) {
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	select {
	case <-s.started:
	case <-ctx.Done():
		return fmt.Errorf("CRIU did not start in time: %w", timelimit.EndError(ctx))
	}
	if s.err != nil {
		return fmt.Errorf("cannot start CRIU: %w", s.err)
	}
	images, err := os.Open(r.images)
	if err != nil {
		return err
	}
	defer images.Close()
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	r.opts.ImagesDirFd = new(int32(images.Fd()))
	r.opts.WorkDirFd = new(int32(dir.Fd()))
	if r.notify != nil {
		r.opts.NotifyScripts = new(true)
	}
	request := func() error {
		_, err := s.criu.sendAndAwaitAnswer(ctx, &rpc.CriuReq{Type: &r.kind, Opts: r.opts}, r.notify)
		return err
	}
	if r.serve == nil {
		err = request()
	} else {
		err = r.serve(ctx, *r.opts.WorkDirFd, request)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("CRIU was given up: %w", timelimit.EndError(ctx))
	case err != nil:
		return errorFromLogOr(s.dir, err)
	}
	return nil
}

// The engine's directories in its HelperDir.
const (
	workPrefix   = "criu-"   // of a session
	canaryPrefix = "canary-" // of a Check
)

// KillAndRemoveLeftovers kills the CRIUs and canaries that a killed host has left, removes
// their directories, and undoes what they did outside of the images. No other engine may be at work in the same HelperDir.
func (e *Engine) KillAndRemoveLeftovers() error {
	var errs []error
	for _, prefix := range []string{workPrefix, canaryPrefix} {
		begin := filepath.Join(e.HelperDir, prefix)
		for _, pid := range filenames.NumbersIn("/proc") {
			if dir, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid)); err == nil && strings.HasPrefix(dir, begin) {
				_ = syscall.Kill(pid, syscall.SIGKILL) // unless the process has ended meanwhile
			}
		}
		dirs, err := filenames.PathsIn(e.HelperDir, prefix, "")
		errs = append(errs, err)
		for _, dir := range dirs {
			errs = append(errs, ownedtree.Remove(dir))
		}
	}
	return errors.Join(append(errs, outside.UndoNoted(e.HelperDir))...)
}
