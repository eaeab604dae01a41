package criu

import (
	"context"
	"fmt"
	"os"
	"sync"

	gocriu "github.com/checkpoint-restore/go-criu/v7"
	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"google.golang.org/protobuf/proto"

	"dormouse/hibernate"
	"dormouse/internal/cgroup"
)

// session is a CRIU process for one operation, from its start to its end.
type session struct {
	begun   chan struct{} // closed when all below is settled
	err     error
	work    string // directory
	process *process
	told    rpc.CriuOpts // what it must be told of what it was started with

	close func()
}

// Prestart begins to start a CRIU, see hibernate.Engine.
func (e *Engine) Prestart(group cgroup.Dir, files []hibernate.Inherited) hibernate.Prestarted {
	return e.begin(group, inherited(files))
}

func (e *Engine) begin(group cgroup.Dir, files []handed) *session {
	s := &session{begun: make(chan struct{})}
	s.close = sync.OnceFunc(s.end)
	go func() {
		defer close(s.begun)
		if s.work, s.err = os.MkdirTemp(e.programs, workPrefix); s.err == nil {
			s.process, s.err = e.start(s.work, group, &s.told, files)
		}
	}()
	return s
}

// session returns the one that was started for an order, or begins it. It must be
// ended if it was not started, or if the order fails.
func (e *Engine) session(started hibernate.Prestarted, group cgroup.Dir, files []handed) (s *session, end func()) {
	if s, ok := started.(*session); ok {
		return s, func() {} // whoever started it ends it
	}
	s = e.begin(group, files)
	return s, s.close
}

// Close ends CRIU, see hibernate.Prestarted.
func (s *session) Close() { s.close() }

func (s *session) end() {
	<-s.begun
	if s.process != nil {
		s.process.end()
	}
	if s.work != "" {
		_ = os.RemoveAll(s.work) // Tidy does it otherwise
	}
}

// run has CRIU carry operation out. It returns what CRIU's log says when that
// fails; nothing of it is left then. It calls giveUp when ctx or CRIU ends before.
func (s *session) run(ctx context.Context, dir string, opts *rpc.CriuOpts, giveUp func(),
	operation func(*gocriu.Criu, *rpc.CriuOpts, gocriu.Notify) error,
) (err error) {
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if <-s.begun; s.err != nil {
		return fmt.Errorf("cannot start CRIU: %w", s.err)
	}
	images, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer images.Close()
	work, err := os.Open(s.work)
	if err != nil {
		return err
	}
	defer work.Close()
	opts.ImagesDirFd = new(int32(images.Fd()))
	opts.WorkDirFd = new(int32(work.Fd()))
	proto.Merge(opts, &s.told)

	stop := s.process.watch(ctx, giveUp)
	err = operation(s.process.rpc, opts, gocriu.NoNotify{})
	switch expired := stop(); {
	case err != nil && expired:
		return fmt.Errorf("CRIU was given up: %w", ctx.Err())
	case err != nil:
		return logged(s.work, err)
	}
	return nil
}
