package sdk

import (
	"context"
	"log/slog"
	"slices"
	"sync"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/shell/shellpb"
)

// The bounds of what is kept for the host to take, or to take again.
const (
	keptEvents = 256
	keptBytes  = 8 << 20
	maxEvent   = 1 << 20
)

// events holds what the plugin emitted last, sent or not, so that a stream can
// go on where another broke. There is one stream at a time.
type events struct {
	log *slog.Logger

	mu        sync.Mutex
	kept      []*shellpb.Event // oldest first, no gaps
	bytes     int              // params of kept
	last      uint64           // sequence of the newest event
	sent      uint64           // sequence of the newest event given to a stream
	news      chan struct{}    // closed and replaced with each event
	stream    uint64           // counts the streams; the newest is the present one
	supersede context.CancelFunc
}

func newEvents(log *slog.Logger) *events {
	return &events{log: log, news: make(chan struct{}), supersede: func() {}}
}

// add never blocks. It drops the oldest events beyond the bounds.
func (q *events) add(e *shellpb.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.last++
	e.Sequence = q.last
	q.kept = append(q.kept, e)
	q.bytes += len(e.GetParams())
	for len(q.kept) > keptEvents || q.bytes > keptBytes {
		q.bytes -= len(q.kept[0].GetParams())
		q.kept = slices.Delete(q.kept, 0, 1)
	}
	close(q.news)
	q.news = make(chan struct{})
}

// serve gives each event after the one numbered after to send, until ctx ends,
// send fails or another stream is served. With after = 0 it begins with the
// oldest event that no stream was given.
func (q *events) serve(ctx context.Context, after uint64, send func(*shellpb.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream := q.open(cancel, after)
	for {
		e, err := q.next(ctx, stream)
		if err != nil {
			return err
		}
		if err := send(e); err != nil {
			q.giveBack(e, stream)
			return err
		}
	}
}

func (q *events) open(cancel context.CancelFunc, after uint64) (stream uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.supersede()
	q.supersede = cancel
	q.stream++
	if 0 < after && after <= q.last {
		q.sent = after
	}
	return q.stream
}

// next waits for an event and takes it as sent.
func (q *events) next(ctx context.Context, stream uint64) (*shellpb.Event, error) {
	for {
		e, dropped, news, err := q.take(ctx, stream)
		if dropped > 0 {
			q.log.Warn("events were dropped because nobody took them", "count", dropped)
		}
		if e != nil || err != nil {
			return e, err
		}
		select {
		case <-news:
		case <-ctx.Done():
		}
	}
}

func (q *events) take(ctx context.Context, stream uint64) (e *shellpb.Event, dropped uint64, news <-chan struct{}, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case stream != q.stream:
		return nil, 0, nil, status.Error(codes.Aborted, "another stream of events was opened")
	case ctx.Err() != nil:
		return nil, 0, nil, status.FromContextError(ctx.Err()).Err()
	case q.sent == q.last:
		return nil, 0, q.news, nil
	}
	oldest := q.kept[0].GetSequence()
	if q.sent+1 < oldest {
		dropped = oldest - q.sent - 1
		q.sent = oldest - 1
	}
	q.sent++
	return q.kept[q.sent-oldest], dropped, nil, nil
}

// giveBack lets the next stream begin with e, unless there is one already.
func (q *events) giveBack(e *shellpb.Event, stream uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if stream == q.stream {
		q.sent = e.GetSequence() - 1
	}
}
