// Package http2room lets the other ends of HTTP/2 connections send long messages a few at a
// time. A receiver of gRPC lets the sender of a long message send all of it at once, by a
// large update of the stream's window; the package holds such updates back until there is
// room for the message. It does not know what is in a message.
package http2room

import (
	"slices"
	"sync"
	"time"
)

// window is how many bytes a stream may send without any update, as HTTP/2 has it. Longer
// messages need room.
const window = 64 << 10

// stallTime is how long a message may wait for others that do not arrive.
const stallTime = 30 * time.Second

// Room is the memory for long messages while they arrive, on any number of connections.
type Room struct {
	stallTime time.Duration
	noteTaken func(bytes int64) // may be nil

	mu       sync.Mutex
	size     int64
	taken    int64
	arriving map[*message]bool
	waiting  []*message // in the order in which they came
}

// message is a long message that arrives or waits for room.
type message struct {
	conn   *Conn
	stream uint32
	size   int64 // bytes that the room is taken for
	left   int64 // bytes of them that have not arrived
	since  time.Time
	stalls *time.Timer // while it waits
}

// NewRoom returns room for that many bytes. Unless noteTaken is nil, it is called with all
// bytes that are taken, whenever a message takes more; it must not block.
func NewRoom(bytes int64, noteTaken func(bytes int64)) *Room {
	return &Room{size: bytes, stallTime: stallTime, noteTaken: noteTaken, arriving: make(map[*message]bool)}
}

// admitOrQueue takes the room for a message, or has it wait for that.
func (r *Room) admitOrQueue(m *message) (admitted bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m.conn.messages.Add(1)
	if r.takeIfFits(m) {
		return true
	}
	m.stalls = time.AfterFunc(r.stallTime, func() { r.closeStalled(m) })
	r.waiting = append(r.waiting, m)
	return false
}

// takeIfFits takes the room for a message: the first of its connection may have all that is
// left, others no more than half. The caller holds mu.
func (r *Room) takeIfFits(m *message) (taken bool) {
	c, left := m.conn, r.size-r.taken-m.size
	if left < 0 || c.admitted > 0 && c.admitted+m.size > left {
		return false
	}
	r.taken += m.size
	c.admitted += m.size
	if before := c.arriving[m.stream]; before != nil {
		r.forget(before)
	}
	c.arriving[m.stream] = m
	r.arriving[m] = true
	m.since = time.Now()
	if r.noteTaken != nil {
		r.noteTaken(r.taken)
	}
	return true
}

// forget gives the room of a message back, or takes it off those that wait. The caller holds
// mu.
func (r *Room) forget(m *message) {
	m.conn.messages.Add(-1)
	if m.stalls != nil {
		m.stalls.Stop()
	}
	if !r.arriving[m] {
		r.waiting = slices.DeleteFunc(r.waiting, func(other *message) bool { return other == m })
		return
	}
	delete(r.arriving, m)
	delete(m.conn.arriving, m.stream)
	m.conn.admitted -= m.size
	r.taken -= m.size
}

// forgetAndAdmit gives the room of messages back, and admits those that wait and fit now. The
// caller holds mu.
func (r *Room) forgetAndAdmit(gone ...*message) {
	for _, m := range gone {
		r.forget(m)
	}
	r.waiting = slices.DeleteFunc(r.waiting, func(m *message) bool {
		if !r.takeIfFits(m) {
			return false
		}
		m.stalls.Stop()
		m.conn.sendUpdateLater(m)
		return true
	})
}

// noteArrived notes that bytes of a stream have arrived, and that it has ended. A message that
// is there but for one window gives its room back.
func (r *Room) noteArrived(c *Conn, stream uint32, bytes int, ended bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := c.arriving[stream]
	if m == nil {
		return
	}
	m.left -= int64(bytes)
	if ended || m.left <= window {
		r.forgetAndAdmit(m)
	}
}

// endStream gives back the room of a stream that has ended.
func (r *Room) endStream(c *Conn, stream uint32) {
	r.end(func(m *message) bool { return m.conn == c && m.stream == stream })
}

// endConn gives back the room of a connection that was closed.
func (r *Room) endConn(c *Conn) { r.end(func(m *message) bool { return m.conn == c }) }

// end gives back the room of the messages that have ended.
func (r *Room) end(has func(*message) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var gone []*message
	for m := range r.arriving {
		if has(m) {
			gone = append(gone, m)
		}
	}
	for _, m := range r.waiting {
		if has(m) {
			gone = append(gone, m)
		}
	}
	if len(gone) > 0 {
		r.forgetAndAdmit(gone...)
	}
}

// closeStalled closes the connections whose messages have been arriving for longer than
// stallTime while the message waited.
func (r *Room) closeStalled(waiting *message) {
	r.mu.Lock()
	var stalled []*Conn
	for m := range r.arriving {
		if slices.Contains(r.waiting, waiting) && time.Since(m.since) >= r.stallTime {
			stalled = append(stalled, m.conn)
		}
	}
	r.mu.Unlock()
	for _, c := range stalled {
		_ = c.Close() // it may be closed already
	}
}
