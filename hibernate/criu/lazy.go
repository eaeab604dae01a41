package criu

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"time"

	gocriu "github.com/checkpoint-restore/go-criu/v7"
	"github.com/checkpoint-restore/go-criu/v7/rpc"
	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/internal/uffd"
)

// RestoreLazy has CRIU leave the lazy memory out and a pager bring it in, see
// hibernate.Engine.
func (e *Engine) RestoreLazy(ctx context.Context, r hibernate.Restore, m hibernate.Memory) (*os.Process, hibernate.Loading, error) {
	var layout layout
	err := uffd.Available()
	if err == nil {
		layout, err = readLayout(r.Dir)
	}
	if err == nil {
		if err := layout.provideEager(r.Provide); err != nil {
			return nil, nil, errors.Join(fmt.Errorf("cannot restore: %w", err), m.Close())
		}
	}
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("%w before the memory is read: %w", hibernate.ErrUnsupported, err), m.Close())
	}
	p, err := e.serve(layout, r, m)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot restore: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() { // without its memory CRIU could wait for ever
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
	born := &births{}
	root, err := e.restore(ctx, r, born, func(c *gocriu.Criu, opts *rpc.CriuOpts) error {
		opts.LazyPages = new(true)
		return p.attend(ctx, opts.GetWorkDirFd(), func() error { return c.Restore(opts, born) })
	})
	alive := born.root
	if err != nil {
		alive = 0
	}
	if cerr := p.confirm(ctx, e.programs, alive); cerr != nil {
		err = errors.Join(cerr, err)
	}
	if err != nil {
		err = errors.Join(err, born.end(r.Cgroup))
		p.Close() // nobody is left who could take zeros for memory
		return nil, nil, errors.Join(p.Err(), err)
	}
	return root, p, nil
}

// server is who brings memory in: this process, or one that may outlive it.
type server interface {
	hibernate.Loading
	// attend takes over the address spaces that CRIU makes while restore runs.
	attend(ctx context.Context, workDir int32, restore func() error) error
	// confirm returns an error when something is wrong with what CRIU has read by
	// itself. Without one the tree below root, unless that is 0, never reads anything
	// but its memory, whoever is killed.
	confirm(ctx context.Context, programs string, root int) error
}

// serve begins to bring memory in. It closes m when it fails.
func (e *Engine) serve(l layout, r hibernate.Restore, m hibernate.Memory) (server, error) {
	if r.Lasting == "" {
		p, err := newPager(l, m, e.manners)
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		return p, nil
	}
	movable, can := m.(hibernate.MovableMemory)
	if !can {
		return nil, errors.Join(errors.New("no other process can have the memory"), m.Close())
	}
	p := newLoader()
	p.dir, p.images, p.memory = r.Lasting, r.Dir, movable
	p.order = order{Programs: e.programs, Quiet: e.quiet, Patience: e.patience}
	return p, nil
}

// provideEager has all put in place that CRIU reads by itself.
func (l layout) provideEager(provide func(file string, index int64) error) error {
	if provide == nil {
		return nil
	}
	for file, chunks := range l.eager {
		for _, index := range chunks {
			if err := provide(file, index); err != nil {
				return err
			}
		}
	}
	return nil
}

// verifyEager asks m for all that CRIU reads by itself.
func (l layout) verifyEager(m hibernate.Memory) error {
	buffer, err := newChunk()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(buffer) }()
	for file, chunks := range l.eager {
		for _, index := range chunks {
			if _, err := m.ReadChunk(file, index, buffer); err != nil {
				return err
			}
		}
	}
	return nil
}

// What CRIU says on its socket: a task's number in the image followed by its
// userfaultfd, a zombie's number negated, and a word that no number can be once
// all tasks are made.
const (
	lazySocket   = "lazy-pages.socket"
	lazyFinished = 0x52535446
)

// attend takes over the address spaces that CRIU makes while restore runs.
func (p *pager) attend(ctx context.Context, workDir int32, restore func() error) error {
	listener, err := listenCRIU(workDir)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	attended := make(chan error, 1)
	go func() { attended <- p.accept(ctx, listener) }()
	err = restore()
	if err != nil {
		cancel()
	}
	aerr := <-attended
	cancel()
	return errors.Join(err, aerr)
}

// listenCRIU makes the socket that CRIU looks for.
func listenCRIU(workDir int32) (*net.UnixListener, error) {
	// The path through the descriptor is short enough for a socket.
	address := &net.UnixAddr{Name: fmt.Sprintf("/proc/self/fd/%d/%s", workDir, lazySocket), Net: "unix"}
	return net.ListenUnix("unix", address)
}

// confirm starts the guard of the tree, see server.
func (p *pager) confirm(_ context.Context, programs string, root int) error {
	var err error
	if root != 0 {
		err = p.guard.start(programs, root)
	}
	return errors.Join(<-p.verified, err)
}

// accept serves CRIU's one connection until all is handed over or ctx ends.
func (p *pager) accept(ctx context.Context, listener *net.UnixListener) error {
	defer listener.Close()
	settled := context.AfterFunc(ctx, func() { _ = listener.SetDeadline(time.Unix(1, 0)) })
	defer settled()
	conn, err := listener.AcceptUnix()
	if err != nil {
		return fmt.Errorf("CRIU did not hand memory over: %w", err)
	}
	defer conn.Close()
	settled = context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })
	defer settled()
	return p.receive(conn)
}

// receive reads from CRIU until it says that all tasks are made.
func (p *pager) receive(conn *net.UnixConn) error {
	word := make([]byte, 4)
	for {
		if _, err := io.ReadFull(conn, word); err != nil {
			return fmt.Errorf("CRIU ended before all memory was handed over: %w", err)
		}
		switch number := int32(binary.NativeEndian.Uint32(word)); {
		case number == lazyFinished:
			p.finish()
			return nil
		case number < 0:
			continue
		default:
			fd, err := receiveFD(conn)
			if err != nil {
				return fmt.Errorf("cannot take over the memory of task %d: %w", number, err)
			}
			if err := p.add(int(number), fd); err != nil {
				return err
			}
		}
	}
}

func receiveFD(conn *net.UnixConn) (uffd.FD, error) {
	data, control := make([]byte, 1), make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := conn.ReadMsgUnix(data, control)
	if err != nil {
		return -1, err
	}
	messages, err := unix.ParseSocketControlMessage(control[:n])
	if err != nil {
		return -1, err
	}
	if len(messages) != 1 {
		return -1, errors.New("CRIU sent no descriptor")
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return -1, errors.Join(errors.New("CRIU sent no descriptor"), err)
	}
	unix.CloseOnExec(fds[0])
	return uffd.FD(fds[0]), nil
}
