package queue

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"dormouse/internal/store"
)

// The longest parts of a message, in bytes.
const (
	MaxBody   = 1 << 20
	MaxHeader = 64 << 10
	MaxID     = 512 // of an id, and of a scope
)

// Message is what a queue keeps.
type Message struct {
	// ID names the message. If it is empty, Publish makes one. An id that Publish is given is
	// remembered for a day: what is published again with it, in the same scope, is accepted and
	// not done again.
	ID     string
	Scope  string // of the ID; it is not kept with the message
	Header []byte // what the caller wants to know of the body; the queue does not read it
	Body   []byte
}

// size returns how much of a bound in bytes the message takes.
func (m Message) size() int64 { return int64(len(m.ID) + len(m.Header) + len(m.Body)) }

func (m Message) verifyLength() error {
	for _, part := range []struct {
		name      string
		has, most int
	}{
		{"body", len(m.Body), MaxBody},
		{"header", len(m.Header), MaxHeader},
		{"id", len(m.ID), MaxID},
		{"scope of its id", len(m.Scope), MaxID},
	} {
		if part.has > part.most {
			return fmt.Errorf("%w: its %s has %d bytes, the most are %d", ErrTooLong, part.name, part.has, part.most)
		}
	}
	return nil
}

// Receipt says what Publish has accepted.
type Receipt struct {
	ID   string
	Seen bool // a message of this id was accepted within the last day; nothing was done now
}

// Publish puts the message at the end of each of the queues, or of none. It is on disk when
// Publish returns nil. The error wraps ErrTooLong, ErrQueueFull or ErrFull where it is one.
func (q *Queues) Publish(ctx context.Context, m Message, to ...string) (Receipt, error) {
	return q.PublishInOrder(ctx, m, to...)()
}

// PublishInOrder is Publish for a caller that has several messages under way, which enter a queue
// in the order of the calls. The function that it returns does the rest of Publish. It must be
// called at once, in any goroutine: other callers may wait for it.
func (q *Queues) PublishInOrder(ctx context.Context, m Message, to ...string) (wait func() (Receipt, error)) {
	remember := m.ID != ""
	if !remember {
		m.ID = NewID()
	}
	t, err := q.enqueueMessage(ctx, m, remember, to)
	return func() (Receipt, error) {
		if err == nil {
			err = q.carryOut(ctx, t)
		}
		if remember && (errors.Is(err, ErrQueueFull) || errors.Is(err, ErrFull)) {
			if seen, serr := q.hasSeen(ctx, m); serr == nil && seen {
				err = errSeen // a full queue is no reason to refuse what it has accepted
			}
		}
		r := Receipt{ID: m.ID, Seen: errors.Is(err, errSeen)}
		if err != nil && !r.Seen {
			return r, fmt.Errorf("cannot publish: %w", err)
		}
		return r, nil
	}
}

// enqueueMessage enqueues the task that writes the message to the end of each of the queues.
func (q *Queues) enqueueMessage(ctx context.Context, m Message, remember bool, to []string) (*task, error) {
	if err := m.verifyLength(); err != nil {
		return nil, err
	}
	lines := make([]*line, len(to))
	var changes changes
	for i, name := range to {
		l, err := q.lineOf(ctx, name)
		if err != nil {
			return nil, err
		}
		lines[i] = l
		changes.add(change{line: l, waiting: counts{1, m.size()}})
	}
	published := q.now()
	return q.enqueue(ctx, changes, func(tx *store.Tx) error {
		if remember {
			if err := q.seen.remember(tx, m, published); err != nil {
				return err
			}
		}
		for _, l := range lines {
			if err := q.insert(tx, l, m, published); err != nil {
				return err
			}
		}
		return nil
	})
}

// insert writes the message as the last one of l.
func (q *Queues) insert(tx *store.Tx, l *line, m Message, published time.Time) error {
	seq, at := q.lastSeq.Add(1), published.UnixMilli()
	_, err := tx.Exec(`INSERT INTO queue_messages (seq, queue, id, published, header, body, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)`,
		seq, l.number, m.ID, at, m.Header, m.Body, checksum(seq, l.number, at, m))
	return err
}

// NewID returns an id that no other message has: a UUID of version 7, so ids made later are
// greater.
func NewID() string {
	var id [16]byte
	_, _ = rand.Read(id[6:]) // it never fails
	now := time.Now().UnixMilli()
	binary.BigEndian.PutUint16(id[0:], uint16(now>>32))
	binary.BigEndian.PutUint32(id[2:], uint32(now))
	id[6] = id[6]&0x0f | 0x70
	id[8] = id[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", id[0:4], id[4:6], id[6:8], id[8:10], id[10:16])
}
