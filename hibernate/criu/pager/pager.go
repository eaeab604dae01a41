package pager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/hibernate/criu/images"
	"dormouse/internal/uffd"
)

// retry is how long a process may take to note that an event of its was read.
const retry = 50 * time.Microsecond

// Timing say when memory is brought in that nobody waits for.
type Timing struct {
	// Quiet is how long nobody must have waited for any; after patience it begins
	// all the same.
	Quiet, Patience time.Duration
}

// DefaultTiming leave the processor to the first answers.
var DefaultTiming = Timing{Quiet: 20 * time.Millisecond, Patience: 500 * time.Millisecond}

// pager brings memory into a restored tree. One goroutine reads what happens to
// an address space and fills it, so that what it fills is never out of date.
type pager struct {
	memory hibernate.Memory
	layout images.Layout
	Timing
	chunks chunks
	guard  *guard
	bell   int // eventfd that ends a wait
	done   chan struct{}
	err    error // after done
	// verified tells the outcome for what CRIU reads by itself.
	verified chan error
	using    sync.WaitGroup // memory, besides the loop

	total, loaded atomic.Int64

	mu       sync.Mutex // guards what the loop is told
	arrived  []*space
	complete bool // nothing more arrives
	hurry    bool
	closed   bool

	// The rest is the loop's own.
	spaces  []*space
	began   time.Time // when all tasks were there
	lastHit time.Time // when somebody waited last
}

var _ hibernate.Loading = (*pager)(nil)

func newPager(l images.Layout, m hibernate.Memory, how Timing) (*pager, error) {
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	g, err := newGuard()
	if err != nil {
		return nil, errors.Join(err, unix.Close(bell))
	}
	p := &pager{
		memory: m, layout: l, Timing: how, guard: g, bell: bell,
		done: make(chan struct{}), verified: make(chan error, 1),
	}
	p.using.Go(func() { p.verified <- verifyEager(l, m) })
	go p.run()
	return p, nil
}

// Server is who brings memory in: this process, or one that may outlive it.
type Server interface {
	hibernate.Loading
	// Attend takes over the address spaces that CRIU makes while restore runs.
	Attend(ctx context.Context, workDir int32, restore func() error) error
	// Confirm returns an error when something is wrong with what CRIU has read by
	// itself. Without one the tree below root, unless that is 0, never reads anything
	// but its memory, whoever is killed.
	Confirm(ctx context.Context, programs string, root int) error
}

// Begin begins to bring memory in. It closes m when it fails.
func Begin(l images.Layout, r hibernate.Restore, m hibernate.Memory, programs string, how Timing) (Server, error) {
	if r.Lasting == "" {
		p, err := newPager(l, m, how)
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
	p.order = order{Programs: programs, Quiet: how.Quiet, Patience: how.Patience}
	return p, nil
}

// verifyEager asks m for all that CRIU reads by itself.
func verifyEager(l images.Layout, m hibernate.Memory) error {
	buffer, err := newChunk()
	if err != nil {
		return err
	}
	defer func() { _ = unix.Munmap(buffer) }()
	for file, chunks := range l.Eager {
		for _, index := range chunks {
			if _, err := m.ReadChunk(file, index, buffer); err != nil {
				return err
			}
		}
	}
	return nil
}

// Confirm starts the guard of the tree, see Server.
func (p *pager) Confirm(_ context.Context, programs string, root int) error {
	var err error
	if root != 0 {
		err = p.guard.start(programs, root)
	}
	return errors.Join(<-p.verified, err)
}

// Done is closed when nothing more is loaded, see hibernate.Loading.
func (p *pager) Done() <-chan struct{} { return p.done }

// Err is why the loading failed, see hibernate.Loading.
func (p *pager) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Progress counts bytes, see hibernate.Loading.
func (p *pager) Progress() (done, total int64) { return p.loaded.Load(), p.total.Load() }

// Hurry ends all patience, see hibernate.Loading.
func (p *pager) Hurry() { p.tell(func() { p.hurry = true }) }

// Leave does nothing: this process is the only one that loads.
func (p *pager) Leave() {}

// Close ends the loop and lets go of the address spaces, see hibernate.Loading.
func (p *pager) Close() {
	p.tell(func() { p.closed = true })
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release()
	if p.bell >= 0 {
		_ = unix.Close(p.bell)
		p.bell = -1
	}
}

// add takes over the memory of a task.
func (p *pager) add(task int, fd uffd.FD) error {
	memory, known := p.layout.Lazy[task]
	p.total.Add(memory.Missing.Bytes())
	p.tell(func() { p.arrived = append(p.arrived, &space{fd: fd, file: memory.File, missing: memory.Missing}) })
	if !known {
		return fmt.Errorf("the image has no memory of task %d", task)
	}
	return p.guard.hold(fd)
}

// finish says that all tasks were added.
func (p *pager) finish() { p.tell(func() { p.complete = true }) }

// tell changes something that the loop looks at, and has it look.
func (p *pager) tell(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	if p.bell >= 0 {
		_, _ = unix.Write(p.bell, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

// run is the loop.
func (p *pager) run() {
	defer close(p.done)
	defer p.chunks.free()
	defer func() {
		p.using.Wait()
		p.err = errors.Join(p.err, p.memory.Close())
	}()
	for {
		p.mu.Lock()
		p.spaces, p.arrived = append(p.spaces, p.arrived...), nil
		complete, hurry, closed := p.complete, p.hurry, p.closed
		p.mu.Unlock()
		if closed {
			return
		}
		if err := p.serve(); err != nil {
			p.err = err
			return
		}
		p.forget()
		if complete {
			if p.began.IsZero() {
				p.began, p.lastHit = time.Now(), time.Now()
			}
			if !p.missing() {
				p.mu.Lock()
				p.release()
				p.mu.Unlock()
				return
			}
		}
		limit := p.limit(complete, hurry)
		if limit == 0 {
			if err := p.fill(); err != nil {
				p.err = err
				return
			}
		}
		if err := p.wait(limit); err != nil {
			p.err = err
			return
		}
	}
}

// limit is how long to wait for something to happen before the next step, less
// than 0 for ever.
func (p *pager) limit(complete, hurry bool) time.Duration {
	for _, s := range p.spaces {
		if len(s.waiting) > 0 {
			return retry
		}
	}
	now := time.Now()
	switch {
	case !complete:
		return -1
	case hurry, now.Sub(p.began) > p.Patience:
		return 0
	default:
		return max(0, p.Quiet-now.Sub(p.lastHit))
	}
}

// wait returns when there is something to read, or after limit.
func (p *pager) wait(limit time.Duration) error {
	fds := make([]unix.PollFd, 0, 1+len(p.spaces))
	fds = append(fds, unix.PollFd{Fd: int32(p.bell), Events: unix.POLLIN})
	for _, s := range p.spaces {
		fds = append(fds, unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN})
	}
	var timeout *unix.Timespec
	if limit >= 0 {
		timeout = new(unix.NsecToTimespec(int64(limit)))
	}
	_, err := unix.Ppoll(fds, timeout, nil)
	if err != nil && !errors.Is(err, unix.EINTR) {
		return fmt.Errorf("cannot wait for page faults: %w", err)
	}
	if fds[0].Revents != 0 {
		_, _ = unix.Read(p.bell, make([]byte, 8))
	}
	return nil
}

// missing tells whether anything is still to come.
func (p *pager) missing() bool {
	return slices.ContainsFunc(p.spaces, func(s *space) bool { return len(s.missing) > 0 })
}

// forget lets go of the address spaces of processes that have ended.
func (p *pager) forget() {
	p.spaces = slices.DeleteFunc(p.spaces, func(s *space) bool {
		if s.gone {
			_ = s.fd.Close()
		}
		return s.gone
	})
}

// release lets go of the address spaces: the guard first, or it would have who
// touches what never had contents wait for ever.
func (p *pager) release() {
	p.guard.end()
	for _, s := range append(p.spaces, p.arrived...) {
		_ = s.fd.Close()
	}
	p.spaces, p.arrived = nil, nil
}
