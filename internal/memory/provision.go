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
	// program. It is called once, by the first Refill.
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

// Refill takes the memory again. The first Refill keeps the files in memory, too. It takes
// nothing, and returns an error, if less than twice as much memory is available.
func (p *Provision) Refill() error {
	if p == nil {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.held != nil || p.Bytes == 0 && p.files != nil {
		return nil
	}
	available, err := AvailableBytes()
	if err == nil && available < 2*p.Bytes {
		err = fmt.Errorf("%d MiB are available, %d MiB are to be kept", available>>20, p.Bytes>>20)
	}
	if err == nil {
		err = p.hold()
	}
	if err == nil && p.files == nil {
		err = p.keepFiles()
	}
	if err != nil {
		return fmt.Errorf("cannot keep memory ready: %w", err)
	}
	return nil
}

// hold takes the memory and touches it. Without the right to lock it, the memory may go to
// the swap, and then only spares swap.
func (p *Provision) hold() (err error) {
	if p.Bytes == 0 {
		return nil
	}
	p.held, err = unix.Mmap(-1, 0, int(p.Bytes), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return err
	}
	if unix.Mlock(p.held) != nil {
		for i := 0; i < len(p.held); i += os.Getpagesize() {
			p.held[i] = 1
		}
	}
	return nil
}

// keepFiles keeps the own program and the files in memory.
func (p *Provision) keepFiles() (err error) {
	var paths []string
	if p.Files != nil {
		paths = p.Files()
	}
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
