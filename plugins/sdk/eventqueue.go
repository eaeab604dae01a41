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

// Limits of the events that are kept for the host. maxEventBytes is for one event.
const (
	maxKeptEvents = 256
	maxKeptBytes  = 8 << 20
	maxEventBytes = 1 << 20
)

// eventQueue keeps the last events of the plugin, sent or not, so that a new stream
// can go on where an earlier one broke. There is one stream at a time.
type eventQueue struct {
	log *slog.Logger

	mu        sync.Mutex
	kept      []*shellpb.Event // oldest first, with consecutive sequence numbers
	bytes     int              // of the parameters in kept
	newest    uint64           // sequence number of the newest event
	sent      uint64           // sequence number of the newest event given to a stream
	added     chan struct{}    // closed and replaced when an event is added
	stream    uint64           // the number of the present stream
	endStream context.CancelFunc
}

// newEventQueue returns an empty queue without a stream.
func newEventQueue(log *slog.Logger) *eventQueue {
	return &eventQueue{log: log, added: make(chan struct{}), endStream: func() {}}
}

// addDroppingOldest gives the event the next sequence number, appends it, and drops the
// oldest events beyond the limits. It never waits for the host.
func (q *eventQueue) addDroppingOldest(e *shellpb.Event) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.newest++
	e.Sequence = q.newest
	q.kept = append(q.kept, e)
	q.bytes += len(e.GetParams())
	for len(q.kept) > maxKeptEvents || q.bytes > maxKeptBytes {
		q.bytes -= len(q.kept[0].GetParams())
		q.kept = slices.Delete(q.kept, 0, 1)
	}
	close(q.added)
	q.added = make(chan struct{})
}

// newestSequence returns the sequence number of the newest event, 0 if there was none.
func (q *eventQueue) newestSequence() uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.newest
}

// sendUntilStreamEnds opens a stream and sends on it each event after the one with number
// afterSequence, also events that are added later, until ctx ends, send fails or another
// stream begins; it returns that error. With 0 it begins with the oldest event that no stream
// was given. First it calls begin with the number after which the stream begins.
func (q *eventQueue) sendUntilStreamEnds(ctx context.Context, afterSequence uint64, begin func(after uint64) error, send func(*shellpb.Event) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, begins := q.replaceStream(cancel, afterSequence)
	if err := begin(begins); err != nil {
		return err
	}
	for {
		e, err := q.waitAndTakeNext(ctx, stream)
		if err != nil {
			return err
		}
		if err := send(e); err != nil {
			q.markUnsentOn(e, stream)
			return err
		}
	}
}

// replaceStream ends the present stream and returns the number of a new one, which begins
// after the event of that sequence number, or where the last stream ended if the number
// is 0 or unknown. begins is the number after which it begins. endStream ends the new stream.
func (q *eventQueue) replaceStream(endStream context.CancelFunc, afterSequence uint64) (stream, begins uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.endStream()
	q.endStream = endStream
	q.stream++
	if 0 < afterSequence && afterSequence <= q.newest {
		q.sent = afterSequence
	}
	return q.stream, q.sent
}

// waitAndTakeNext waits for the next event of the stream, and counts it as sent. It logs
// how many events before it were dropped. It returns an error if ctx ends or another
// stream was opened.
func (q *eventQueue) waitAndTakeNext(ctx context.Context, stream uint64) (*shellpb.Event, error) {
	for {
		e, dropped, news, err := q.takeNext(ctx, stream)
		if dropped > 0 {
			q.log.Warn("events were dropped because the host did not take them", "count", dropped)
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

// takeNext returns the next event of the stream and counts it as sent. dropped is
// how many events before it were dropped. If there is no event yet, e is nil and news is
// closed when one is added. The error means that ctx has ended or another stream was opened.
func (q *eventQueue) takeNext(ctx context.Context, stream uint64) (e *shellpb.Event, dropped uint64, news <-chan struct{}, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case stream != q.stream:
		return nil, 0, nil, status.Error(codes.Aborted, "another stream of events was opened")
	case ctx.Err() != nil:
		return nil, 0, nil, status.FromContextError(ctx.Err()).Err()
	case q.sent == q.newest:
		return nil, 0, q.added, nil
	}
	oldest := q.kept[0].GetSequence()
	if q.sent+1 < oldest {
		dropped = oldest - q.sent - 1
		q.sent = oldest - 1
	}
	q.sent++
	return q.kept[q.sent-oldest], dropped, nil, nil
}

// markUnsentOn counts the event as not sent, so that the next stream begins with it. It does
// nothing if another stream was opened after the one of that number.
func (q *eventQueue) markUnsentOn(e *shellpb.Event, stream uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if stream == q.stream {
		q.sent = e.GetSequence() - 1
	}
}
