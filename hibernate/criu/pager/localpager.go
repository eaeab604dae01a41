package pager

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/hibernate/criu/images"
	"dormouse/internal/uffd"
)

// localPager is a Pager in this process. A single goroutine reads the events of all
// address spaces and fills them, so what it fills in is never out of date.
type localPager struct {
	loadState
	memory hibernate.Memory
	layout images.Layout
	timing Timing
	cache  chunkCache
	holder *uffdHolder
	wakeup int // eventfd that ends the loop's wait, -1 after Close
	// verified receives the result of verifyEagerChunks.
	verified chan error
	readers  sync.WaitGroup // of memory, besides the loop

	mu       sync.Mutex // guards these orders to the loop
	added    []*addressSpace
	allAdded bool
	hurry    bool
	closed   bool

	// Only the goroutine of runLoop uses the fields below.
	spaces     []*addressSpace
	allAddedAt time.Time
	lastFault  time.Time
}

var _ Pager = (*localPager)(nil)

// startLocalPager starts a pager with its loop, and the verification of the memory that CRIU
// reads itself. The helper executable of the holder is installed in helperDir. The pager
// closes m, but not after an error.
func startLocalPager(l images.Layout, m hibernate.Memory, helperDir string, timing Timing) (*localPager, error) {
	wakeup, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, err
	}
	holder, err := newUffdHolder(helperDir)
	if err != nil {
		return nil, errors.Join(err, unix.Close(wakeup))
	}
	p := &localPager{
		memory: m, layout: l, timing: timing, holder: holder, wakeup: wakeup,
		loadState: loadState{done: make(chan struct{})}, verified: make(chan error, 1),
	}
	p.readers.Go(func() { p.verified <- verifyEagerChunks(l, m) })
	go p.runLoop()
	return p, nil
}

// RunRestoreAndServe implements Pager. If the restore fails it stops waiting for CRIU.
func (p *localPager) RunRestoreAndServe(ctx context.Context, workDirFD int32, restore func() error) error {
	listener, err := listenForCRIU(workDirFD)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	received := make(chan error, 1)
	go func() { received <- p.receiveSpacesAndCloseListener(ctx, listener) }()
	err = restore()
	if err != nil {
		cancel()
	}
	return errors.Join(err, <-received)
}

// VerifyAndSecureRestore implements Pager. It starts the process of the uffdHolder, and waits
// until the memory that CRIU has read itself is verified.
func (p *localPager) VerifyAndSecureRestore(_ context.Context, rootPID int) error {
	var err error
	if rootPID != 0 {
		err = p.holder.startProcessUnlessStopped(rootPID)
	}
	return errors.Join(<-p.verified, err)
}

// BytesRead implements hibernate.Loading.
func (p *localPager) BytesRead() int64 { return p.memory.BytesRead() }

// Hurry implements hibernate.Loading. The loop stops waiting for a quiet moment.
func (p *localPager) Hurry() { p.changeOrdersAndWakeLoop(func() { p.hurry = true }) }

// Leave implements hibernate.Loading. It does nothing: the loading ends with this
// process.
func (p *localPager) Leave() {}

// Close implements hibernate.Loading. It ends the loop and closes the address spaces, after
// which missing memory reads as zeros.
func (p *localPager) Close() {
	p.changeOrdersAndWakeLoop(func() { p.closed = true })
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stopHolderAndCloseSpaces()
	if p.wakeup >= 0 {
		_ = unix.Close(p.wakeup)
		p.wakeup = -1
	}
}

// addAddressSpace hands the userfaultfd of the process with that number in the image to the
// loop, and a copy to the holder. It returns an error if the image has no such process.
func (p *localPager) addAddressSpace(processInImage int, fd uffd.FD) error {
	memory, known := p.layout.Lazy[processInImage]
	p.total.Add(memory.Missing.Bytes())
	p.changeOrdersAndWakeLoop(func() { p.added = append(p.added, &addressSpace{fd: fd, file: memory.File, missing: memory.Missing}) })
	if !known {
		return fmt.Errorf("the image has no memory of process %d", processInImage)
	}
	return p.holder.addCopy(fd)
}

// setAllAdded orders the loop to load the memory for which no thread waits, too: CRIU has
// sent the address spaces of all processes.
func (p *localPager) setAllAdded() { p.changeOrdersAndWakeLoop(func() { p.allAdded = true }) }

// changeOrdersAndWakeLoop calls change, which changes the orders to the loop, and wakes the
// loop.
func (p *localPager) changeOrdersAndWakeLoop(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
	if p.wakeup >= 0 {
		_, _ = unix.Write(p.wakeup, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	}
}

// runLoop is the goroutine of the pager. It ends when all memory is loaded, after a
// failure, or by Close. Then it records the failure, closes the memory, and closes Done.
func (p *localPager) runLoop() {
	defer close(p.done)
	err := p.loadUntilDoneOrClosed()
	p.readers.Wait()
	p.err = errors.Join(err, p.memory.Close())
	p.cache.freeBuffers()
}

// loadUntilDoneOrClosed handles events and loads memory until all memory is loaded, when it
// closes the address spaces, or until Close is called.
func (p *localPager) loadUntilDoneOrClosed() error {
	for {
		p.mu.Lock()
		p.spaces, p.added = append(p.spaces, p.added...), nil
		allAdded, hurry, closed := p.allAdded, p.hurry, p.closed
		p.mu.Unlock()
		if closed {
			return nil
		}
		if err := p.handleEventsAndFaults(); err != nil {
			return err
		}
		p.closeEndedAddressSpaces()
		if allAdded {
			if p.allAddedAt.IsZero() {
				p.allAddedAt, p.lastFault = time.Now(), time.Now()
			}
			if !p.isMemoryMissing() {
				p.mu.Lock()
				p.stopHolderAndCloseSpaces()
				p.mu.Unlock()
				return nil
			}
		}
		limit := p.eventWaitLimit(allAdded, hurry)
		if limit == 0 {
			if err := p.loadNextPages(); err != nil {
				return err
			}
		}
		if err := p.waitForEventOrOrders(limit); err != nil {
			return err
		}
	}
}

// retryInterval is how long the loop waits before it fills a page again after EAGAIN:
// until a process goes on after one of its events was read, the kernel refuses to fill
// its memory.
const retryInterval = 50 * time.Microsecond

// eventWaitLimit returns how long the loop may wait for an event: 0 if it is to load at once
// memory that no thread waits for, less than 0 for no limit, before CRIU has sent all address
// spaces.
func (p *localPager) eventWaitLimit(allAdded, hurry bool) time.Duration {
	for _, s := range p.spaces {
		if len(s.faults) > 0 {
			return retryInterval
		}
	}
	now := time.Now()
	switch {
	case !allAdded:
		return -1
	case hurry, now.Sub(p.allAddedAt) > p.timing.Patience:
		return 0
	default:
		return max(0, p.timing.Quiet-now.Sub(p.lastFault))
	}
}

// waitForEventOrOrders waits until an address space has an event or the orders change, at
// most for the limit; less than 0 is no limit. It reads no event.
func (p *localPager) waitForEventOrOrders(limit time.Duration) error {
	fds := make([]unix.PollFd, 0, 1+len(p.spaces))
	fds = append(fds, unix.PollFd{Fd: int32(p.wakeup), Events: unix.POLLIN})
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
		_, _ = unix.Read(p.wakeup, make([]byte, 8))
	}
	return nil
}

// isMemoryMissing reports whether a process still lacks memory that the image has.
func (p *localPager) isMemoryMissing() bool {
	return slices.ContainsFunc(p.spaces, func(s *addressSpace) bool { return len(s.missing) > 0 })
}

// closeEndedAddressSpaces closes and forgets the address spaces of processes that have ended.
func (p *localPager) closeEndedAddressSpaces() {
	p.spaces = slices.DeleteFunc(p.spaces, func(s *addressSpace) bool {
		if s.ended {
			_ = s.fd.Close()
		}
		return s.ended
	})
}

// stopHolderAndCloseSpaces ends the holder with its copies, and then closes all address
// spaces: otherwise a thread that touches a page without contents would block for ever. The
// caller holds mu.
func (p *localPager) stopHolderAndCloseSpaces() {
	p.holder.endProcessAndCloseCopies()
	for _, s := range append(p.spaces, p.added...) {
		_ = s.fd.Close()
	}
	p.spaces, p.added = nil, nil
}
