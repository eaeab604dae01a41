package controller

import (
	"sync"
	"sync/atomic"
)

// outbox is what one websocket has still to be sent, in order and bounded. The
// order holds between events and answers: the events that a call caused come
// before its answer.
type sendQueue struct {
	mostMessages, mostBytes int
	budget                  *queueBudget

	mu         sync.Mutex
	change     sync.Cond // messages came or went, or it was closed
	queue      [][]byte
	bytes      int // of the queue
	inWriting  int // bytes of what was taken last and may not have been sent yet
	fromBudget int // from the budget
	closed     bool
}

// budget is what all outboxes together may hold beyond the small share of each:
// who keeps up does not feel how many others lag behind.
type queueBudget struct{ left atomic.Int64 }

// share is what an outbox may hold whatever the others do.
const freeBytes = 64 << 10

func newSendQueue(messages, bytes int, common *queueBudget) *sendQueue {
	o := &sendQueue{mostMessages: messages, mostBytes: bytes, budget: common}
	o.change.L = &o.mu
	return o
}

// put adds an answer once there is room. It returns false when the outbox is
// closed.
func (o *sendQueue) putAnswer(message []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for !o.closed && !o.hasRoom(message) {
		o.change.Wait()
	}
	return o.appendMessage(message)
}

// offer adds an event, or returns false when there is no room for it.
func (o *sendQueue) offerEvent(message []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.closed || o.hasRoom(message) && o.appendMessage(message)
}

// take removes all messages once there are any. It returns nil when the outbox
// is closed.
func (o *sendQueue) takeAll(spent [][]byte) [][]byte {
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
	o.queue, o.bytes, o.inWriting = spent[:0], 0, o.bytes
	o.updateBudget()
	o.change.Broadcast()
	return messages
}

func (o *sendQueue) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.queue, o.bytes, o.inWriting = nil, 0, 0
	o.updateBudget()
	o.change.Broadcast()
}

// room lets one message of any size into an empty outbox.
func (o *sendQueue) hasRoom(message []byte) bool {
	bytes := o.bytes + len(message)
	more := bytes + o.inWriting - freeBytes - o.fromBudget
	return len(o.queue) == 0 ||
		len(o.queue) < o.mostMessages && bytes <= o.mostBytes && (more <= 0 || int64(more) <= o.budget.left.Load())
}

// draw takes from the budget what is held beyond the share, or gives back.
func (o *sendQueue) updateBudget() {
	more := max(o.bytes+o.inWriting-freeBytes, 0) - o.fromBudget
	if more != 0 {
		o.fromBudget += more
		o.budget.left.Add(int64(-more))
	}
}

func (o *sendQueue) appendMessage(message []byte) bool {
	if o.closed {
		return false
	}
	o.queue = append(o.queue, message)
	o.bytes += len(message)
	o.updateBudget()
	o.change.Broadcast()
	return true
}
