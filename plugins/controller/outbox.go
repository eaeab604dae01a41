package controller

import "sync"

// outbox is what one websocket has still to be sent, in order and bounded. The
// order holds between events and answers: the events that a call caused come
// before its answer.
type outbox struct {
	mostMessages, mostBytes int

	mu     sync.Mutex
	change sync.Cond // messages came or went, or it was closed
	queue  [][]byte
	bytes  int
	closed bool
}

func newOutbox(messages, bytes int) *outbox {
	o := &outbox{mostMessages: messages, mostBytes: bytes}
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
	o.queue, o.bytes = spent[:0], 0
	o.change.Broadcast()
	return messages
}

func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	o.change.Broadcast()
}

// room lets one message of any size into an empty outbox.
func (o *outbox) room(message []byte) bool {
	return len(o.queue) == 0 || len(o.queue) < o.mostMessages && o.bytes+len(message) <= o.mostBytes
}

func (o *outbox) add(message []byte) bool {
	if o.closed {
		return false
	}
	o.queue = append(o.queue, message)
	o.bytes += len(message)
	o.change.Broadcast()
	return true
}
