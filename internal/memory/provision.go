package memory

import (
	"errors"
	"fmt"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Provision is what a process keeps in memory for a time of need: files that it runs from
// and starts programs from, and memory that it holds without using it, to give that to others.
// Its methods may be called on a nil Provision, which is nothing.
type Provision struct {
	// Bytes is how much memory is held, 0 for none.
	Bytes int64
	// Files returns the paths of the files that are to stay in memory besides the own
	// program. Refill calls it until it returns some; nil means none.
	Files func() []string

	mu     sync.Mutex
	held   []byte // nil while the memory is given free
	files  *LockedFiles
	closed bool
}

// Release gives the memory free that is held; the files stay.
func (p *Provision) Release() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.release()
}

// release is Release for a caller that holds p.mu.
func (p *Provision) release() {
	if p.held != nil {
		_ = unix.Munmap(p.held)
		p.held = nil
	}
}

// Refill takes the memory again, and keeps the files in memory if they are not kept yet. It
// takes nothing, and returns an error, if less than twice as much memory is available.
func (p *Provision) Refill() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	if err := errors.Join(p.hold(), p.keepFiles()); err != nil {
		return fmt.Errorf("cannot keep memory ready: %w", err)
	}
	return nil
}

// hold takes the memory, unless it is held, and touches it. Without the right to lock it, the
// memory may go to the swap, and then only spares swap.
func (p *Provision) hold() error {
	if p.held != nil || p.Bytes == 0 {
		return nil
	}
	available, err := AvailableBytes()
	if err != nil {
		return err
	}
	if available < 2*p.Bytes {
		return fmt.Errorf("%d MiB are available, %d MiB are to be kept", available>>20, p.Bytes>>20)
	}
	held, err := unix.Mmap(-1, 0, int(p.Bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	if unix.Mlock(held) != nil {
		for i := 0; i < len(held); i += os.Getpagesize() {
			held[i] = 1
		}
	}
	p.held = held
	return nil
}

// keepFiles keeps the files and the own program in memory, once. What can't be kept is
// said once, too.
func (p *Provision) keepFiles() error {
	if p.files != nil || p.Files == nil {
		return nil
	}
	paths := p.Files()
	if len(paths) == 0 {
		return nil
	}
	var err error
	p.files, err = LockFiles(paths...)
	return errors.Join(err, LockOwnProgram())
}

// Close gives the memory and the files free for good.
func (p *Provision) Close() {
	if p == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.release()
	p.files.Close()
}
