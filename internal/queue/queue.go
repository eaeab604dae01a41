// Package queue keeps messages on disk until they are done: any number of queues, each with
// a name, in tables of a store. It knows bytes, ids and times. It does not know what a
// message means, which program takes it, or whether that program is ready.
//
// What Publish has accepted survives a loss of power. A message is delivered at least once:
// it stays in its queue until Finish, so a host that ends before finds it there again. Its
// results enter their queues in the same transaction in which it leaves its own, so they are
// published once. A queue keeps its order, across retries too, unless its rules let several
// messages be taken at once.
package queue

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"dormouse/internal/store"
)

// Limits bounds what waits. A zero is no bound.
type Limits struct {
	Messages int64
	Bytes    int64 // of ids, headers and bodies
}

// Rules say how one queue works. The zero Rules are of an unbounded queue that keeps its
// order.
type Rules struct {
	Limits
	Parallel   int           // how many messages may be taken at once; above 1 the queue has no order
	Attempts   int           // failures after which a message is dead; DefaultAttempts if 0
	FirstRetry time.Duration // the wait after the first failure, doubled after each; 1 s if 0
	LastRetry  time.Duration // the longest wait; 5 minutes if 0
}

const (
	// DefaultAttempts is how often a message may fail before it is dead.
	DefaultAttempts = 10
	// MaxKills is how often a message may kill the program that takes it before the message
	// is dead.
	MaxKills = 3

	defaultFirstRetry = time.Second
	defaultLastRetry  = 5 * time.Minute
)

func (r Rules) withDefaults() Rules {
	if r.Parallel < 1 {
		r.Parallel = 1
	}
	if r.Attempts < 1 {
		r.Attempts = DefaultAttempts
	}
	if r.FirstRetry <= 0 {
		r.FirstRetry = defaultFirstRetry
	}
	if r.LastRetry <= 0 {
		r.LastRetry = defaultLastRetry
	}
	return r
}

// ordered reports whether the queue hands out one message at a time, in order.
func (r Rules) ordered() bool { return r.Parallel == 1 }

// retryAfter returns how long a message waits after that many failures.
func (r Rules) retryAfter(failures int) time.Duration {
	wait := r.FirstRetry
	for ; failures > 1 && wait < r.LastRetry; failures-- {
		wait *= 2
	}
	return min(wait, r.LastRetry)
}

// Options are what Open needs to know.
type Options struct {
	Total Limits // of all queues, dead letters included
	// Lost is told of each message whose stored bytes are damaged. It may be nil.
	Lost func(queue, id string, cause error)
}

// Queues are all queues of one store. Any goroutine may use them.
type Queues struct {
	store   *store.Store
	options Options
	now     func() time.Time

	lastSeq atomic.Int64 // of the message written last; only a transaction raises it
	seen    idSweep

	mu    sync.Mutex // guards the fields below, and those of every line
	lines map[string]*line
	total counts  // of all lines, with what transactions under way add
	tasks []*task // that wait for the store
}

// counts are a number of messages and their bytes. Those of a change may be negative.
type counts struct{ messages, bytes int64 }

func (c counts) plus(d counts) counts { return counts{c.messages + d.messages, c.bytes + d.bytes} }
func (c counts) growth() counts       { return counts{max(c.messages, 0), max(c.bytes, 0)} }
func (c counts) decline() counts      { return counts{min(c.messages, 0), min(c.bytes, 0)} }
func (c counts) negated() counts      { return counts{-c.messages, -c.bytes} }

// line is one queue as the host's memory has it. What it knows of single messages is bounded:
// those that are taken, and a few read ahead.
type line struct {
	name    string
	number  int64 // of its row, and in its messages
	rules   Rules
	waiting counts // with what transactions under way add
	dead    counts
	changed chan struct{}  // closed at the next change; nil while nothing waits for it
	lost    map[int64]bool // by seq: messages on damaged pages, which were named
	reader
}

// Open returns the queues of s, with all that waits in them. s must stay open as long as they
// are used.
func Open(s *store.Store, options Options) (*Queues, error) {
	q := &Queues{store: s, options: options, now: time.Now, lines: make(map[string]*line)}
	if err := s.Define("queue", schema...); err != nil {
		return nil, fmt.Errorf("cannot open the queues: %w", err)
	}
	if s.Rebuilt() {
		if err := s.Update(context.Background(), recount); err != nil {
			return nil, fmt.Errorf("cannot count what waits in the queues: %w", err)
		}
	}
	if err := s.View(context.Background(), q.load); err != nil {
		return nil, fmt.Errorf("cannot read the queues: %w", err)
	}
	return q, nil
}

// load reads the row of each queue, and the number of the last message.
func (q *Queues) load(tx *store.Tx) (err error) {
	var last int64
	if err := tx.QueryRow(selectLastSeq).Scan(&last); err != nil {
		return err
	}
	q.lastSeq.Store(last)
	rows, err := tx.Query(`SELECT number, name, messages, bytes, dead, dead_bytes FROM queues`)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		l := newLine("")
		if err := rows.Scan(&l.number, &l.name, &l.waiting.messages, &l.waiting.bytes, &l.dead.messages, &l.dead.bytes); err != nil {
			return err
		}
		q.lines[l.name] = l
		q.total = q.total.plus(l.waiting).plus(l.dead)
	}
	return rows.Err()
}

func newLine(name string) *line {
	return &line{name: name, rules: Rules{}.withDefaults(), reader: newReader()}
}

// SetRules makes r the rules of the queue of that name, which need not exist yet. Messages
// beyond new bounds stay.
func (q *Queues) SetRules(ctx context.Context, name string, r Rules) error {
	l, err := q.lineOf(ctx, name)
	if err != nil {
		return err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	was := l.rules
	l.rules = r.withDefaults()
	if was.ordered() != l.rules.ordered() {
		l.readAgain()
	}
	l.tellChanged()
	return nil
}

// lineOf returns the queue of that name, made first if there is none.
func (q *Queues) lineOf(ctx context.Context, name string) (*line, error) {
	q.mu.Lock()
	l := q.lines[name]
	q.mu.Unlock()
	if l != nil {
		return l, nil
	}
	made := newLine(name)
	err := q.update(ctx, func(tx *store.Tx) error {
		return tx.QueryRow(`INSERT INTO queues (name) VALUES (?)
			ON CONFLICT (name) DO UPDATE SET name = excluded.name RETURNING number`, name).Scan(&made.number)
	})
	if err != nil {
		return nil, fmt.Errorf("cannot make the queue %s: %w", name, err)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if l := q.lines[name]; l != nil { // made by another caller at the same time
		return l, nil
	}
	q.lines[name] = made
	return made, nil
}

// Changed returns a channel that is closed at the next change of the queue: a message
// published, finished, failed or put back, or other rules. A caller that asks for the channel
// first and looks at the queue then misses nothing.
func (q *Queues) Changed(ctx context.Context, name string) (<-chan struct{}, error) {
	l, err := q.lineOf(ctx, name)
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return l.nextChange(), nil
}

// nextChange returns the channel that tellChanged closes. The caller holds mu.
func (l *line) nextChange() <-chan struct{} {
	if l.changed == nil {
		l.changed = make(chan struct{})
	}
	return l.changed
}

// tellChanged wakes all that wait for a change. The caller holds mu.
func (l *line) tellChanged() {
	if l.changed != nil {
		close(l.changed)
		l.changed = nil
	}
}
