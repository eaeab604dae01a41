// Package logqueue puts a queue before a writer that may stall, such as a pipe that no
// process reads, so that writing a log never stops the work that is logged. It does not
// know the form of the lines.
package logqueue

import (
	"io"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// maxQueued is how many bytes of lines wait at most; later lines are dropped.
	maxQueued = 4 << 20
	// patience is how long Write waits for its line to be written, so that the lines of a
	// process that dies are not lost, and a flood does not outrun the writer. While the
	// writer stalls Write does not wait at all.
	patience = 20 * time.Millisecond
)

// Queue is an io.Writer whose Write takes a whole line and never waits long. A goroutine
// writes the lines in order to the writer behind it.
type Queue struct {
	to      io.Writer
	tell    func(dropped int64)
	dropped atomic.Int64 // since New
	telling atomic.Bool  // tell is running, in the goroutine that writes
	ended   chan struct{}

	mu      sync.Mutex // guards the fields below
	changed sync.Cond  // a line was queued, or the queue was closed
	lines   []queuedLine
	bytes   int   // of lines
	stalled bool  // a line was not written within patience, and the writer has not caught up since
	untold  int64 // lines that were dropped since tell was called last
	closed  bool
}

// queuedLine is one line, and the channel that is closed when the line is written.
type queuedLine struct {
	text    []byte
	written chan struct{}
}

// New returns a queue before the writer. It calls tell, when the writer takes lines again
// after a stall, with the number of lines that were dropped meanwhile; tell may write to the
// queue. The caller must call Close.
func New(to io.Writer, tell func(dropped int64)) *Queue {
	q := &Queue{to: to, tell: tell, ended: make(chan struct{})}
	q.changed.L = &q.mu
	go q.writeLines()
	return q
}

// Write queues the line, and waits a moment until it is written unless the writer stalls. It
// drops the line if too many wait or the queue is closed. It always returns len(line), nil.
func (q *Queue) Write(line []byte) (int, error) {
	written, wait := q.add(line)
	if !wait {
		return len(line), nil
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	select {
	case <-written:
	case <-late.C:
		q.noteStall()
	}
	return len(line), nil
}

// add queues a copy of the line or drops it. wait reports whether the caller is to wait until
// written is closed.
func (q *Queue) add(line []byte) (written <-chan struct{}, wait bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.bytes+len(line) > maxQueued {
		q.untold++
		q.dropped.Add(1)
		return nil, false
	}
	l := queuedLine{append([]byte(nil), line...), make(chan struct{})}
	q.lines = append(q.lines, l)
	q.bytes += len(line)
	q.changed.Signal()
	return l.written, !q.stalled && !q.telling.Load()
}

// noteStall records that the writer stalls, unless all lines are written by now.
func (q *Queue) noteStall() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stalled = len(q.lines) > 0
}

// Dropped returns how many lines were dropped since New.
func (q *Queue) Dropped() int64 { return q.dropped.Load() }

// Flush waits until the lines that are queued now are written, for at most limit.
func (q *Queue) Flush(limit time.Duration) {
	q.mu.Lock()
	if len(q.lines) == 0 {
		q.mu.Unlock()
		return
	}
	written := q.lines[len(q.lines)-1].written
	q.mu.Unlock()
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-written:
	case <-late.C:
	}
}

// Close waits until all lines are written, for at most limit, and makes later lines be
// dropped. If the writer stalls for longer, its goroutine goes on to wait for it.
func (q *Queue) Close(limit time.Duration) {
	q.mu.Lock()
	q.closed = true
	q.changed.Signal()
	q.mu.Unlock()
	late := time.NewTimer(limit)
	defer late.Stop()
	select {
	case <-q.ended:
	case <-late.C:
	}
}

// writeLines writes the lines until the queue is closed and empty.
func (q *Queue) writeLines() {
	defer close(q.ended)
	for {
		l, ok := q.waitForLine()
		if !ok {
			return
		}
		_, _ = q.to.Write(l.text) // there is no other place to report a failure
		close(l.written)
		if dropped := q.removeFirst(); dropped > 0 {
			q.telling.Store(true)
			q.tell(dropped)
			q.telling.Store(false)
		}
	}
}

// waitForLine returns the first line, which stays in the queue. It returns false when the
// queue is closed and empty.
func (q *Queue) waitForLine() (l queuedLine, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.lines) == 0 {
		if q.closed {
			return l, false
		}
		q.changed.Wait()
	}
	return q.lines[0], true
}

// removeFirst removes the first line, which was written. It returns how many lines were
// dropped if that is to be told now: when no line waits any more.
func (q *Queue) removeFirst() (toTell int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.bytes -= len(q.lines[0].text)
	q.lines[0] = queuedLine{}
	q.lines = q.lines[1:]
	q.stalled = q.stalled && q.bytes > maxQueued/2
	if len(q.lines) > 0 {
		return 0
	}
	q.lines, q.stalled = nil, false
	if q.closed {
		return 0
	}
	toTell, q.untold = q.untold, 0
	return toTell
}
