package http2room

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
)

// Types and flags of HTTP/2's frames, and the lengths of their parts.
const (
	typeData         = 0x0
	typeHeaders      = 0x1
	typeReset        = 0x3
	typeWindowUpdate = 0x8
	flagEndStream    = 0x1

	headerLength = 9
	updateLength = headerLength + 4

	// prefaceLength is the length of what a client sends before its first frame.
	prefaceLength = 24
)

// Conn is a connection of one end of HTTP/2 whose other end sends long messages only when
// there is room for them.
type Conn struct {
	net.Conn
	room     *Room
	isClient bool

	reader frames

	writing sync.Mutex
	writer  frames
	held    []byte // the beginning of a frame that gRPC has not written to its end

	sendMu  sync.Mutex
	toSend  []byte // updates that were held back and may be sent now
	sending bool   // a goroutine is about to

	// Room.mu guards these two.
	admitted int64               // bytes of messages that arrive
	arriving map[uint32]*message // by stream

	messages atomic.Int64 // how many arrive or wait
}

// NewClientConn returns the connection of a client of HTTP/2, on which nothing was written.
func NewClientConn(conn net.Conn, room *Room) *Conn { return newConn(conn, room, true) }

// NewServerConn returns the connection of a server of HTTP/2, from which nothing was read.
func NewServerConn(conn net.Conn, room *Room) *Conn { return newConn(conn, room, false) }

func newConn(conn net.Conn, room *Room, isClient bool) *Conn {
	c := &Conn{Conn: conn, room: room, isClient: isClient, arriving: make(map[uint32]*message)}
	if isClient {
		c.writer.skip = prefaceLength
	} else {
		c.reader.skip = prefaceLength
	}
	return c
}

// NetConn returns the connection below.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Close closes the connection and gives its room back.
func (c *Conn) Close() error {
	err := c.Conn.Close()
	c.room.endConn(c)
	return err
}

// Read reads from the connection.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.reader.scan(p[:n], func(h header) {
		if c.messages.Load() == 0 {
			return
		}
		switch ended := h.flags&flagEndStream != 0; {
		case h.kind == typeData:
			c.room.noteArrived(c, h.stream, h.length, ended)
		case h.kind == typeReset, h.kind == typeHeaders && ended:
			c.room.noteArrived(c, h.stream, 0, true)
		}
	})
	return n, err
}

// Write writes to the connection all but large updates of windows for which there is no room;
// those are written later.
func (c *Conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	out := p
	if len(c.held) > 0 || !c.passes(p) {
		out = c.withoutHeldBack(append(c.held, p...))
	}
	c.writer.scan(out, c.noteWritten)
	if _, err := c.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(p), c.sendUpdatesBetweenFrames()
}

// passes reports whether p may be written as it is: it has no large update, and does not end
// within the header of a frame or an update.
func (c *Conn) passes(p []byte) bool {
	for at := c.writer.skip; at < len(p); {
		if len(p)-at < updateLength {
			return false
		}
		h := parseHeader(p[at:])
		if h.kind == typeWindowUpdate && h.stream != 0 && binary.BigEndian.Uint32(p[at+headerLength:]) > window {
			return false
		}
		at += headerLength + h.length
	}
	return true
}

// withoutHeldBack returns p without the updates for which there is no room, and without an end
// that is too short to know what it is; that becomes held.
func (c *Conn) withoutHeldBack(p []byte) (out []byte) {
	c.held = nil
	out = append(out, p[:min(c.writer.skip, len(p))]...)
	for at := len(out); at < len(p); {
		rest := p[at:]
		if len(rest) < headerLength {
			c.held = rest
			return out
		}
		h := parseHeader(rest)
		length := headerLength + h.length
		isUpdate := h.kind == typeWindowUpdate && h.stream != 0
		if isUpdate && len(rest) < length {
			c.held = rest
			return out
		}
		if !isUpdate || c.mayUpdate(h.stream, binary.BigEndian.Uint32(rest[headerLength:])) {
			out = append(out, rest[:min(length, len(rest))]...)
		}
		at += length
	}
	return out
}

// mayUpdate reports whether a window may be updated now. If not, the update is sent later.
func (c *Conn) mayUpdate(stream, size uint32) bool {
	if size <= window {
		return true
	}
	return c.room.admitOrQueue(&message{conn: c, stream: stream, size: int64(size), left: int64(size)})
}

// noteWritten notes the end of a stream.
func (c *Conn) noteWritten(h header) {
	ends := h.kind == typeReset || !c.isClient && h.flags&flagEndStream != 0 && (h.kind == typeData || h.kind == typeHeaders)
	if ends && c.messages.Load() > 0 {
		c.room.endStream(c, h.stream)
	}
}

// sendUpdateLater sends the update of a message that was held back, in the background: the
// other end may not read.
func (c *Conn) sendUpdateLater(m *message) {
	update := make([]byte, updateLength)
	update[2], update[3] = 4, typeWindowUpdate
	binary.BigEndian.PutUint32(update[5:], m.stream)
	binary.BigEndian.PutUint32(update[headerLength:], uint32(m.size)) //nolint:gosec // it was one
	c.sendMu.Lock()
	defer c.sendMu.Unlock()
	c.toSend = append(c.toSend, update...)
	if !c.sending {
		c.sending = true
		go c.sendUpdates()
	}
}

// sendUpdates sends the updates that were held back and may be sent now.
func (c *Conn) sendUpdates() {
	c.writing.Lock()
	defer c.writing.Unlock()
	_ = c.sendUpdatesBetweenFrames() // if the connection fails, its reader notices
}

// sendUpdatesBetweenFrames sends these updates unless the last frame was not written to its
// end: then the Write that ends it sends them. The caller holds writing.
func (c *Conn) sendUpdatesBetweenFrames() error {
	if c.writer.skip > 0 {
		return nil
	}
	c.sendMu.Lock()
	updates := c.toSend
	c.toSend, c.sending = nil, false
	c.sendMu.Unlock()
	if len(updates) == 0 {
		return nil
	}
	_, err := c.Conn.Write(updates)
	return err
}
