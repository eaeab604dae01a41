package criu

import (
	"context"
	"fmt"
	"os"
	"sync"

	"github.com/checkpoint-restore/go-criu/v7/rpc"

	"dormouse/hibernate"
	"dormouse/internal/cgroup"
)

// session is a CRIU process for one operation, from its start to its end, and the
// directory in which it works.
type session struct {
	settled chan struct{} // closed when what follows is set
	err     error         // why CRIU could not be started
	dir     string
	client  *client

	close func() // ends CRIU and removes the directory
}

// Prestart begins to start a CRIU, see hibernate.Engine.
func (e *Engine) Prestart(group cgroup.Dir, files []hibernate.Inherited) hibernate.Prestarted {
	return e.startSession(group, inheritedFiles(files))
}

// startSession begins to start a CRIU and waits for nothing. See startClient for
// group and files.
func (e *Engine) startSession(group cgroup.Dir, files []*os.File) *session {
	s := &session{settled: make(chan struct{})}
	s.close = sync.OnceFunc(s.end)
	go func() {
		defer close(s.settled)
		if s.dir, s.err = os.MkdirTemp(e.programs, workPrefix); s.err == nil {
			s.client, s.err = startClient(e.path, group, files)
		}
	}()
	return s
}

// sessionFor returns the session that was started for an operation, or starts one.
// The caller must call end after the operation: it closes what was started here.
func (e *Engine) sessionFor(prestarted hibernate.Prestarted, group cgroup.Dir, files []*os.File) (s *session, end func()) {
	if s, ok := prestarted.(*session); ok {
		return s, func() {}
	}
	s = e.startSession(group, files)
	return s, s.close
}

// Close ends CRIU, see hibernate.Prestarted.
func (s *session) Close() { s.close() }

func (s *session) end() {
	<-s.settled
	if s.client != nil {
		s.client.close()
	}
	if s.dir != "" {
		_ = os.RemoveAll(s.dir) // else Tidy does it
	}
}

// operation is what a session's CRIU is asked for.
type operation struct {
	kind   rpc.CriuReqType
	images string // directory
	opts   *rpc.CriuOpts
	notify func(*rpc.CriuNotify) // is called with CRIU's notifications; may be nil
	// attend makes the request, with what CRIU needs meanwhile beside it; may be nil.
	// The first parameter is a descriptor of the session's directory.
	attend func(dir int32, request func() error) error
}

// run has CRIU carry the operation out. After an error, which quotes CRIU's log,
// CRIU has ended.
func (s *session) run(ctx context.Context, o operation) (err error) {
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if <-s.settled; s.err != nil {
		return fmt.Errorf("cannot start CRIU: %w", s.err)
	}
	images, err := os.Open(o.images)
	if err != nil {
		return err
	}
	defer images.Close()
	dir, err := os.Open(s.dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	o.opts.ImagesDirFd = new(int32(images.Fd()))
	o.opts.WorkDirFd = new(int32(dir.Fd()))
	if o.notify != nil {
		o.opts.NotifyScripts = new(true)
	}
	request := func() error {
		_, err := s.client.request(ctx, &rpc.CriuReq{Type: &o.kind, Opts: o.opts}, o.notify)
		return err
	}
	if o.attend == nil {
		err = request()
	} else {
		err = o.attend(*o.opts.WorkDirFd, request)
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("CRIU was given up: %w", ctx.Err())
	case err != nil:
		return quoteLog(s.dir, err)
	}
	return nil
}
