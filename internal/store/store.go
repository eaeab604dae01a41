// Package store keeps what the host must not forget in one SQLite file: tables of others, and
// small records, which are JSON by bucket and key. What Update and Put have changed is on disk
// when they return; a change that a crash interrupts has no effect. The package does not know
// what the tables and records mean.
package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"syscall"
	"time"

	"dormouse/internal/atomicfile"
)

// Options say how a store is kept.
type Options struct {
	// CheckAfter is how long after the file was opened all of it is checked beside the work, and
	// CheckEvery how often it is checked again; 0 for never.
	CheckAfter, CheckEvery time.Duration
	// LookEvery is how often it is looked whether the file is still in its place; 0 for never.
	LookEvery time.Duration
	// Told is called with what an operator should read: what was found, lost, kept and done. It
	// may be nil, and must not use the store.
	Told func(message string)
}

// tell calls Told.
func (o Options) tell(message string) {
	if o.Told != nil {
		o.Told(message)
	}
}

// Store is one open file. Any goroutine may use it. This process alone writes to the file;
// others may read it.
type Store struct {
	path    string
	options Options

	changes chan *change    // that wait for the writer
	life    context.Context // until Close
	end     context.CancelFunc
	written chan struct{} // closed when the writer has ended

	mu      sync.Mutex // guards the fields below
	file    *file      // nil while there is no room for the file
	owners  []owner    // whose tables are in the file
	rebuilt bool
	health  Health
	closed  bool

	checking sync.WaitGroup // of what watches the file beside the work
}

// Open opens the file, or makes it with mode 0600, and reads all records once. It carries the
// records of a file that a version before SQLite has written over into a new one, and keeps
// the old one beside it. The error says that another process has the file open, or wraps
// ErrDamaged or ErrNewer. If there is no room to make the file, the store is empty, and each
// write tries again.
func Open(path string, o Options) (*Store, error) {
	s := &Store{
		path: path, options: o,
		changes: make(chan *change), written: make(chan struct{}),
	}
	s.life, s.end = context.WithCancel(context.Background())
	if _, err := s.openedOrOpen(); err != nil && !atomicfile.IsNoRoom(err) {
		s.end()
		return nil, err
	}
	go s.write()
	return s, nil
}

// Close closes the file after every change under way. A nil store has nothing to close.
func (s *Store) Close() error {
	if s == nil {
		return nil
	}
	s.mu.Lock()
	first := !s.closed
	s.closed = true
	s.end()
	s.mu.Unlock()
	<-s.written
	s.checking.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if !first || s.file == nil {
		return nil
	}
	s.file.single.Lock() // a read of a cramped file ends first
	defer s.file.single.Unlock()
	return s.file.close()
}

// Rebuilt reports whether Open has made a new file, because there was none or because it was
// damaged.
func (s *Store) Rebuilt() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rebuilt
}

// openedOrOpen returns the open file. If there was no room for it when the store was opened,
// it tries again.
func (s *Store) openedOrOpen() (*file, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if s.file != nil {
		return s.file, nil
	}
	opened, err := openFile(s.path, s.options)
	if err != nil {
		return nil, err
	}
	for _, owner := range s.owners {
		if err := opened.writer.inTransaction(owner.bringUpToDate); err != nil {
			return nil, errors.Join(err, opened.close())
		}
	}
	s.rebuilt = s.rebuilt || opened.isNew
	s.use(opened)
	return opened, nil
}

// use makes opened the file of the store, and has it checked. The caller holds mu.
func (s *Store) use(opened *file) {
	s.file = opened
	if !opened.cramped {
		inPlace, err := os.Stat(opened.path)
		if err != nil {
			s.options.tell(fmt.Sprintf("cannot watch the place of the store %s: %v", opened.path, err))
		}
		s.checking.Add(1)
		go s.watch(opened, inPlace)
	}
}

// View calls read with what is in the file now: read sees no change that is made meanwhile.
// The error is that of read, and wraps ErrDamaged if the file is damaged where read looked.
func (s *Store) View(ctx context.Context, read func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	f, err := s.openedOrOpen()
	switch {
	case atomicfile.IsNoRoom(err):
		return s.viewEmpty(ctx, read)
	case err != nil:
		return err
	case f.cramped:
		return s.viewCramped(ctx, f, read)
	}
	c, err := f.readers.take(ctx)
	if err != nil {
		return err
	}
	intact := false
	defer func() { f.readers.putBack(c, intact) }()
	err = c.view(ctx, read)
	intact = err == nil
	s.noteDamage(err)
	return err
}

// viewCramped is View on the one connection to a cramped file, unless the file has become
// another.
func (s *Store) viewCramped(ctx context.Context, f *file, read func(*Tx) error) error {
	f.single.Lock()
	defer f.single.Unlock()
	s.mu.Lock()
	isOther, closed := s.file != f, s.closed
	s.mu.Unlock()
	switch {
	case closed:
		return ErrClosed
	case isOther:
		return s.View(ctx, read)
	}
	return f.writer.view(ctx, read)
}

// leaveCramped opens a cramped file as any other, if there is room now.
func (s *Store) leaveCramped(f *file) (*file, error) {
	noRoom := fmt.Errorf("%w on the disk of %s", syscall.ENOSPC, f.path)
	if !f.single.TryLock() {
		return nil, noRoom
	}
	defer f.single.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	lock := f.lock
	f.lock, s.file = nil, nil
	_ = f.close()
	opened, err := openOrRebuild(f.path, s.options)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	opened.lock = lock
	s.use(opened)
	if opened.cramped {
		return nil, noRoom
	}
	return opened, nil
}

// viewEmpty calls read with tables that have no rows, as in a file that is to be made.
func (s *Store) viewEmpty(ctx context.Context, read func(*Tx) error) error {
	f, err := openInMemory()
	if err != nil {
		return err
	}
	defer func() { _ = f.close() }()
	s.mu.Lock()
	owners := s.owners
	s.mu.Unlock()
	for _, owner := range owners {
		if err := f.writer.inTransaction(owner.bringUpToDate); err != nil {
			return err
		}
	}
	return f.writer.view(ctx, read)
}
