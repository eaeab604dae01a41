package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
)

// maxGroup is how many changes share one commit at most, so that the first does not wait for
// long.
const maxGroup = 512

// change is one call of Update.
type change struct {
	work     func(*Tx) error
	after    []func()      // called by Update when the change is on disk
	done     chan struct{} // closed when the change is on disk, or is not made
	err      error         // of the change; valid when done
	panicked any           // what the change has panicked with
}

// answer tells the caller of Update how the change has ended.
func (c *change) answer(err error) {
	if c.err == nil {
		c.err = err
	}
	close(c.done)
}

// Update calls work with a transaction, which is on disk when Update returns nil. It has no
// effect after an error or a panic of work. Changes of many callers share one commit, one
// after the other, so work must not wait for anything, and must not use the store but by its
// Tx. If ctx ends before the change has begun, it is not made and Update returns the error of
// ctx; what has begun is waited for. The error of a full disk wraps syscall.ENOSPC, that of a
// broken one syscall.EIO; later changes may succeed.
func (s *Store) Update(ctx context.Context, work func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	c := newChange(work)
	select {
	case s.changes <- c:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.life.Done():
		return ErrClosed
	}
	<-c.done
	if c.panicked != nil {
		panic(c.panicked)
	}
	if c.err == nil {
		for _, f := range c.after {
			f()
		}
	}
	return c.err
}

// newChange returns a change that is not made yet.
func newChange(work func(*Tx) error) *change {
	return &change{work: work, done: make(chan struct{})}
}

// write makes changes until the store is closed. It alone writes to the file.
func (s *Store) write() {
	defer close(s.written)
	for {
		select {
		case first := <-s.changes:
			s.writeGroup(first)
		case <-s.life.Done():
			return
		}
	}
}

// writeGroup makes first and all changes that wait with it, commits them together and answers
// them. If the commit fails, all of them have failed.
func (s *Store) writeGroup(first *change) {
	made := []*change{first}
	f, err := s.openedForWriting()
	if err == nil {
		made, err = s.makeTogether(f.writer, made)
		if err != nil {
			_ = f.writer.exec("ROLLBACK") // unless SQLite has done so
			f.failed = true
		}
	}
	s.noteDamage(err)
	for _, c := range made {
		s.noteDamage(c.err)
		c.answer(explained(err))
	}
}

// openedForWriting returns the open file, whose writer is connected.
func (s *Store) openedForWriting() (*file, error) {
	f, err := s.openedOrOpen()
	if err == nil && f.cramped {
		f, err = s.leaveCramped(f)
	}
	if err == nil && f.failed {
		err = f.replaceWriter()
	}
	return f, err
}

// makeTogether makes the changes, and those that wait meanwhile, in one transaction. It returns
// all that it has tried.
func (s *Store) makeTogether(c *connection, changes []*change) ([]*change, error) {
	if err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return changes, err
	}
	for n := 0; n < len(changes); n++ {
		if err := c.makeAlone(changes[n]); err != nil {
			return changes, err
		}
		if len(changes) == maxGroup {
			continue
		}
		if next := s.waiting(); next != nil {
			changes = append(changes, next)
		}
	}
	return changes, c.exec("COMMIT")
}

// waiting returns a change that waits now, or nil. It lets those run that are about to ask.
func (s *Store) waiting() *change {
	for range 2 {
		select {
		case c := <-s.changes:
			return c
		default:
			runtime.Gosched()
		}
	}
	return nil
}

// makeAlone makes one change of the transaction that c has begun. If the change fails, it is
// undone and has its error. The error of makeAlone is about the whole transaction.
func (c *connection) makeAlone(one *change) error {
	if err := c.exec("SAVEPOINT one"); err != nil {
		return err
	}
	tx := begun(context.Background(), c)
	one.err = caught(tx, one)
	one.after = tx.after
	tx.end()
	if one.err != nil || one.panicked != nil {
		if err := c.exec("ROLLBACK TO one"); err != nil {
			return errors.Join(one.err, err)
		}
	}
	return c.exec("RELEASE one")
}

// caught calls the change and returns its error. What the change panics with is for its
// caller.
func caught(tx *Tx, one *change) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			one.panicked = fmt.Sprintf("%v\n%s", cause, debug.Stack())
		}
	}()
	return explained(one.work(tx))
}

// inTransaction calls work in a transaction of its own.
func (c *connection) inTransaction(work func(*Tx) error) error {
	if err := c.exec("BEGIN IMMEDIATE"); err != nil {
		return explained(err)
	}
	tx := begun(context.Background(), c)
	err := work(tx)
	tx.end()
	if err == nil {
		err = c.exec("COMMIT")
	}
	if err != nil {
		_ = c.exec("ROLLBACK") // SQLite may have done it
	}
	return explained(err)
}
