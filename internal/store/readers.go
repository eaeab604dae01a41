package store

import (
	"context"
	"database/sql"
	"sync"
	"time"
)

// maxReaders is how many connections read at a time. More callers of View wait.
const maxReaders = 4

// idleReader is how long a connection is kept that does not read.
const idleReader = 5 * time.Second

// readers are the connections that read.
type readers struct {
	db    *sql.DB
	slots chan struct{} // holds one for each connection in use
	ended chan struct{} // closed by close

	mu     sync.Mutex // guards the fields below
	idle   []*connection
	timer  *time.Timer // closes those that are idle
	closed bool
}

// newReaders returns the readers of db, of which none is open yet.
func newReaders(db *sql.DB) *readers {
	return &readers{db: db, slots: make(chan struct{}, maxReaders), ended: make(chan struct{})}
}

// take returns a connection for the caller alone, as soon as there is one.
func (r *readers) take(ctx context.Context) (*connection, error) {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-r.ended:
		return nil, ErrClosed
	}
	r.mu.Lock()
	if last := len(r.idle) - 1; last >= 0 {
		c := r.idle[last]
		r.idle = r.idle[:last]
		r.mu.Unlock()
		return c, nil
	}
	r.mu.Unlock()
	c, err := connect(r.db, readerSettings)
	if err != nil {
		<-r.slots
		return nil, explained(err)
	}
	return c, nil
}

// putBack takes a connection back, and closes it unless it is intact.
func (r *readers) putBack(c *connection, intact bool) {
	defer func() { <-r.slots }()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !intact || r.closed {
		c.close()
		return
	}
	r.idle = append(r.idle, c)
	if r.timer == nil {
		r.timer = time.AfterFunc(idleReader, r.closeIdle)
	} else {
		r.timer.Reset(idleReader)
	}
}

// closeIdle closes the connections that do not read.
func (r *readers) closeIdle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.idle {
		c.close()
	}
	r.idle = nil
}

// close closes all connections, once those in use are put back.
func (r *readers) close() {
	r.mu.Lock()
	r.closed = true
	close(r.ended)
	if r.timer != nil {
		r.timer.Stop()
	}
	r.mu.Unlock()
	r.closeIdle()
	for range maxReaders {
		r.slots <- struct{}{}
	}
}

// view calls read in a transaction that changes nothing.
func (c *connection) view(ctx context.Context, read func(*Tx) error) (err error) {
	if err := c.exec("BEGIN"); err != nil {
		return explained(err)
	}
	tx := begun(ctx, c)
	defer func() {
		tx.end()
		if rolled := c.exec("ROLLBACK"); err == nil {
			err = explained(rolled)
		}
	}()
	return explained(read(tx))
}
