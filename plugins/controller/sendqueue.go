package controller

import (
	"sync"

	"dormouse/plugins/peer"
)

// sendQueue holds the messages that one websocket has still to send, in order and
// bounded. Events and answers keep their order: the events that a call caused come
// before its answer.
type sendQueue struct {
	maxMessages, maxBytes int
	share                 *peer.Share // of the client

	mu        sync.Mutex
	change    sync.Cond // messages were added or taken, or the queue was closed
	queue     [][]byte
	bytes     int // of the messages in queue
	inWriting int // bytes of the messages that waitAndTakeAll returned last, which may not be sent yet
	fromShare int // bytes taken from the share
	closed    bool
}

// newSendQueue returns an empty queue for at most maxMessages messages and maxBytes
// bytes, which count as the client's.
func newSendQueue(maxMessages, maxBytes int, share *peer.Share) *sendQueue {
	q := &sendQueue{maxMessages: maxMessages, maxBytes: maxBytes, share: share}
	q.change.L = &q.mu
	return q
}

// waitAndPutAnswer waits until the queue has room and adds an answer, whose memory is taken
// already. It returns false when the queue is closed.
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
	fits := len(q.queue) == 0 || q.share.Fits(len(message))
	return !fits || !q.hasRoom(message) || !q.appendUnlessClosed(message)
}

// waitAndTakeAll waits for messages, removes them all and returns them; nil when the
// queue is closed. sentBefore is the slice that waitAndTakeAll returned last: its
// messages no longer count as memory, and the queue reuses it.
func (q *sendQueue) waitAndTakeAll(sentBefore [][]byte) [][]byte {
	q.mu.Lock()
	defer q.mu.Unlock()
	clear(sentBefore)
	q.inWriting = 0
	q.updateShare()
	q.change.Broadcast()
	for !q.closed && len(q.queue) == 0 {
		q.change.Wait()
	}
	if q.closed {
		return nil
	}
	messages := q.queue
	q.queue, q.bytes, q.inWriting = sentBefore[:0], 0, q.bytes
	q.updateShare()
	q.change.Broadcast()
	return messages
}

// closeAndDropAll drops all messages, gives their memory back and wakes the
// goroutines that wait.
func (q *sendQueue) closeAndDropAll() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.queue, q.bytes, q.inWriting = nil, 0, 0
	q.updateShare()
	q.change.Broadcast()
}

// hasRoom reports whether the message fits the bounds of the queue. An empty queue takes one
// message of any size. The caller holds mu.
func (q *sendQueue) hasRoom(message []byte) bool {
	return len(q.queue) == 0 || len(q.queue) < q.maxMessages && q.bytes+len(message) <= q.maxBytes
}

// updateShare takes from the share what the queue holds more than before, or gives back what
// it no longer holds. The caller holds mu.
func (q *sendQueue) updateShare() {
	now := q.bytes + q.inWriting
	q.share.TakeAnyway(now - q.fromShare)
	q.fromShare = now
}

// appendUnlessClosed adds a message without waiting, whether there is room or not. It
// returns false when the queue is closed. The caller holds mu.
func (q *sendQueue) appendUnlessClosed(message []byte) (queued bool) {
	if q.closed {
		return false
	}
	q.queue = append(q.queue, message)
	q.bytes += len(message)
	q.updateShare()
	q.change.Broadcast()
	return true
}
