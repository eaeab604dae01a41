package criu

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/internal/uffd"
)

// retry is how long a process may take to note that an event of its was read.
const retry = 50 * time.Microsecond

// manners say when memory is brought in that nobody waits for.
type manners struct {
	// quiet is how long nobody must have waited for any; after patience it begins
	// all the same.
	quiet, patience time.Duration
}

// goodManners leave the processor to the first answers.
var goodManners = manners{quiet: 20 * time.Millisecond, patience: 500 * time.Millisecond}

// pager brings memory into a restored tree. One goroutine reads what happens to
// an address space and fills it, so that what it fills is never out of date.
type pager struct {
	memory hibernate.Memory
	layout layout
	manners
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

func newPager(l layout, m hibernate.Memory, how manners) (*pager, error) {
	bell, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	g, err := newGuard()
	if err != nil {
		return nil, errors.Join(err, unix.Close(bell))
	}
	p := &pager{
		memory: m, layout: l, manners: how, guard: g, bell: bell,
		done: make(chan struct{}), verified: make(chan error, 1),
	}
	p.using.Go(func() { p.verified <- l.verifyEager(m) })
	go p.run()
	return p, nil
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
	memory, known := p.layout.lazy[task]
	p.total.Add(memory.missing.bytes())
	p.tell(func() { p.arrived = append(p.arrived, &space{fd: fd, file: memory.file, missing: memory.missing}) })
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
	case hurry, now.Sub(p.began) > p.patience:
		return 0
	default:
		return max(0, p.quiet-now.Sub(p.lastHit))
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
