package controller

import "sync"

// sendQueue holds the messages that one websocket has still to send, in order and
// bounded. Events and answers keep their order: the events that a call caused come
// before its answer.
type sendQueue struct {
	maxMessages, maxBytes int
	budget                *budget // for what the queue holds beyond freeBytes

	mu         sync.Mutex
	change     sync.Cond // messages were added or taken, or the queue was closed
	queue      [][]byte
	bytes      int // of the messages in queue
	inWriting  int // bytes of the messages that waitAndTakeAll returned last, which may not be sent yet
	fromBudget int // bytes taken from the budget
	closed     bool
	// put, taken and sent are how many messages were ever added, taken and sent.
	put, taken, sent uint64
}

// freeBytes is what a send queue may hold without the budget. A client that keeps up does
// not notice how many others lag behind.
const freeBytes = 64 << 10

// newSendQueue returns an empty queue for at most maxMessages messages and maxBytes
// bytes. Other queues take from budget too.
func newSendQueue(maxMessages, maxBytes int, budget *budget) *sendQueue {
	q := &sendQueue{maxMessages: maxMessages, maxBytes: maxBytes, budget: budget}
	q.change.L = &q.mu
	return q
}

// waitAndPutAnswer waits until there is room and adds an answer. It returns false when the
// queue is closed.
func (q *sendQueue) waitAndPutAnswer(message []byte) (queued bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.closed && !q.hasRoom(message) {
		q.change.Wait()
	}
	return q.appendUnlessClosed(message)
}

// addEventUnlessFull adds an event without waiting. Without room for it, the queue is
// full and the event is dropped. A closed queue drops every event and is not full.
func (q *sendQueue) addEventUnlessFull(message []byte) (full bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	return !q.hasRoom(message) || !q.appendUnlessClosed(message)
}

// waitAndTakeAll waits for messages, removes them all and returns them; nil when the
// queue is closed. sentBefore is the slice that waitAndTakeAll returned last: its
// messages no longer count as memory, and the queue reuses it.
func (q *sendQueue) waitAndTakeAll(sentBefore [][]byte) [][]byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(sentBefore)
	q.inWriting, q.sent = 0, q.taken
	q.updateBudget()
	q.change.Broadcast()
	for !q.closed && len(q.queue) == 0 {
		q.change.Wait()
	}
	if q.closed {
		return nil
	}
	messages := q.queue
	q.queue, q.bytes, q.inWriting, q.taken = sentBefore[:0], 0, q.bytes, q.put
	q.updateBudget()
	q.change.Broadcast()
	return messages
}

// waitUntilSent waits until all messages that the queue has now were sent, or the queue is
// closed.
func (q *sendQueue) waitUntilSent() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for last := q.put; !q.closed && q.sent < last; {
		q.change.Wait()
	}
}

// closeAndDropAll drops all messages, gives their memory back to the budget and wakes the
// goroutines that wait.
func (q *sendQueue) closeAndDropAll() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.queue, q.bytes, q.inWriting = nil, 0, 0
	q.updateBudget()
	q.change.Broadcast()
}

// hasRoom reports whether the message fits the bounds of the queue and the budget. An
// empty queue takes one message of any size. The caller holds mu.
func (q *sendQueue) hasRoom(message []byte) bool {
	bytes := q.bytes + len(message)
	more := bytes + q.inWriting - freeBytes - q.fromBudget
	return len(q.queue) == 0 ||
		len(q.queue) < q.maxMessages && bytes <= q.maxBytes && (more <= 0 || q.budget.has(more))
}

// updateBudget takes from the budget the bytes that the queue holds beyond freeBytes,
// or gives back bytes that it no longer holds. The caller holds mu.
func (q *sendQueue) updateBudget() {
	more := max(q.bytes+q.inWriting-freeBytes, 0) - q.fromBudget
	if more != 0 {
		q.fromBudget += more
		q.budget.take(more)
	}
}

// appendUnlessClosed adds a message without waiting, whether there is room or not. It
// returns false when the queue is closed. The caller holds mu.
func (q *sendQueue) appendUnlessClosed(message []byte) (queued bool) {
	if q.closed {
		return false
	}
	q.queue = append(q.queue, message)
	q.bytes += len(message)
	q.put++
	q.updateBudget()
	q.change.Broadcast()
	return true
}
