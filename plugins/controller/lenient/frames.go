package lenient

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net"
)

// FrameConn is the server's end of a websocket connection whose client may leave frames
// unmasked. To the reader each such frame has a mask of zeros, which leaves the payload as
// it is. Frames with a mask are not changed. FrameConn does not know whether a frame is
// valid.
type FrameConn struct {
	net.Conn
	from *bufio.Reader // what the client sent

	headerBytes [maxFrameHeader]byte
	header      []byte // of the frame that is being read: what the reader did not take yet
	payload     uint64 // bytes of its payload that the reader did not take yet
}

const (
	// maxFrameHeader is the length of the longest header of a frame.
	maxFrameHeader = 14
	// maskBit is set in the second byte of a frame with a mask.
	maskBit = 0x80
	// frameBuffer holds the frames of most calls. Longer ones are read without it.
	frameBuffer = 512
)

// NewFrameConn returns a FrameConn for a connection whose client sent the bytes in sent
// already.
func NewFrameConn(conn net.Conn, sent []byte) *FrameConn {
	from := io.Reader(conn)
	if len(sent) > 0 {
		from = io.MultiReader(bytes.NewReader(sent), conn)
	}
	return &FrameConn{Conn: conn, from: bufio.NewReaderSize(from, frameBuffer)}
}

// Read reads frames, each with a mask. It waits only for its first byte.
func (c *FrameConn) Read(p []byte) (n int, err error) {
	for n < len(p) {
		switch {
		case len(c.header) > 0:
			taken := copy(p[n:], c.header)
			c.header = c.header[taken:]
			n += taken
		case c.payload > 0:
			if n > 0 && c.from.Buffered() == 0 {
				return n, nil
			}
			room := p[n:]
			if uint64(len(room)) > c.payload {
				room = room[:c.payload]
			}
			taken, err := c.from.Read(room)
			c.payload -= uint64(taken) //nolint:gosec // never negative
			n += taken
			if err != nil {
				return n, err
			}
		default:
			if n > 0 && c.from.Buffered() < maxFrameHeader {
				return n, nil
			}
			if err := c.readHeader(); err != nil {
				return n, err
			}
		}
	}
	return n, nil
}

// readHeader reads the header of the next frame, and adds a mask if the header has none.
// After an error it can be called again.
func (c *FrameConn) readHeader() error {
	first, err := c.from.Peek(2)
	if err != nil {
		return err
	}
	length := 2
	switch first[1] &^ maskBit {
	case 126:
		length += 2
	case 127:
		length += 8
	}
	masked := first[1]&maskBit != 0
	if masked {
		length += 4
	}
	sent, err := c.from.Peek(length)
	if err != nil {
		return err
	}
	c.header = append(c.headerBytes[:0], sent...)
	c.payload = payloadLength(sent)
	if !masked {
		c.header[1] |= maskBit
		c.header = append(c.header, 0, 0, 0, 0)
	}
	_, err = c.from.Discard(length)
	return err
}

// payloadLength returns how many bytes follow a frame's header.
func payloadLength(header []byte) uint64 {
	switch short := header[1] &^ maskBit; short {
	case 126:
		return uint64(binary.BigEndian.Uint16(header[2:]))
	case 127:
		return binary.BigEndian.Uint64(header[2:])
	default:
		return uint64(short)
	}
}
