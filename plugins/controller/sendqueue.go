package controller

import (
	"sync"
	"sync/atomic"
)

// outbox is what one websocket has still to be sent, in order and bounded. The
// order holds between events and answers: the events that a call caused come
// before its answer.
type outbox struct {
	mostMessages, mostBytes int
	common                  *budget

	mu     sync.Mutex
	change sync.Cond // messages came or went, or it was closed
	queue  [][]byte
	bytes  int // of the queue
	taken  int // bytes of what was taken last and may not have been sent yet
	drawn  int // from the budget
	closed bool
}

// budget is what all outboxes together may hold beyond the small share of each:
// who keeps up does not feel how many others lag behind.
type budget struct{ left atomic.Int64 }

// share is what an outbox may hold whatever the others do.
const share = 64 << 10

func newOutbox(messages, bytes int, common *budget) *outbox {
	o := &outbox{mostMessages: messages, mostBytes: bytes, common: common}
	o.change.L = &o.mu
	return o
}

// put adds an answer once there is room. It returns false when the outbox is
// closed.
func (o *outbox) put(message []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.closed && !o.room(message) {
		o.change.Wait()
	}
	return o.add(message)
}

// offer adds an event, or returns false when there is no room for it.
func (o *outbox) offer(message []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed || o.room(message) && o.add(message)
}

// take removes all messages once there are any. It returns nil when the outbox
// is closed.
func (o *outbox) take(spent [][]byte) [][]byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.closed && len(o.queue) == 0 {
		o.change.Wait()
	}
	if o.closed {
		return nil
	}
	clear(spent)
	messages := o.queue
	o.queue, o.bytes, o.taken = spent[:0], 0, o.bytes
	o.draw()
	o.change.Broadcast()
	return messages
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.queue, o.bytes, o.taken = nil, 0, 0
	o.draw()
	o.change.Broadcast()
}

// room lets one message of any size into an empty outbox.
func (o *outbox) room(message []byte) bool {
	bytes := o.bytes + len(message)
	more := bytes + o.taken - share - o.drawn
	return len(o.queue) == 0 ||
		len(o.queue) < o.mostMessages && bytes <= o.mostBytes && (more <= 0 || int64(more) <= o.common.left.Load())
}

// draw takes from the budget what is held beyond the share, or gives back.
func (o *outbox) draw() {
	more := max(o.bytes+o.taken-share, 0) - o.drawn
	if more != 0 {
		o.drawn += more
		o.common.left.Add(int64(-more))
	}
}

func (o *outbox) add(message []byte) bool {
	if o.closed {
		return false
	}
	o.queue = append(o.queue, message)
	o.bytes += len(message)
	o.draw()
	o.change.Broadcast()
	return true
}
