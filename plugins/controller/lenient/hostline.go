// Package lenient lets Thunder's C++ clients connect. On the connection itself it corrects
// what net/http and the websocket library refuse: an "@" before the port in the header
// Host, and websocket frames without a mask. It does not know what a request asks for.
package lenient

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"strconv"
)

// Listener is a listener whose connections are HostConns. Those of TLS stay as they are:
// net/http must know them, and Thunder's clients speak none.
type Listener struct{ net.Listener }

// Accept waits for the next connection and returns it as a *HostConn.
func (l Listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	if _, encrypted := c.(*tls.Conn); encrypted {
		return c, nil
	}
	return &HostConn{Conn: c}, nil
}

// HostConn is the server's end of an HTTP connection. In what the client sends, the first
// "@" in the value of each header Host is read as ":", so that 127.0.0.1@9998 becomes
// 127.0.0.1:9998. No other byte is changed, none is held back.
//
// HostConn finds the header of each request by the length of the body before. Once it
// can't know that length, it changes nothing any more: after a request with another
// framing than Content-Length, and after one that asks for another protocol.
type HostConn struct {
	net.Conn
	headers headerScanner
}

// Read reads what the client sent, with headers Host corrected.
func (c *HostConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.headers.scan(p[:n])
	return n, err
}

// NetConn returns the connection as it was accepted.
func (c *HostConn) NetConn() net.Conn { return c.Conn }

// ReadFrom writes what r has to the connection, by the kernel alone where it can.
func (c *HostConn) ReadFrom(r io.Reader) (int64, error) { return io.Copy(c.Conn, r) }

// CloseWrite tells the client that nothing more comes, if the connection can.
func (c *HostConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// headerScanner follows the requests of an HTTP connection and corrects their headers Host
// in place. The zero value expects a request.
type headerScanner struct {
	part part
	// start is the beginning of the line that is being read, and length how many bytes
	// the line has so far.
	start  [maxLine]byte
	length int
	// replaced is set once an "@" of the line was replaced.
	replaced bool
	// bodyLength is the length of the body that follows the header, bodyLeft how much of
	// the body was not read yet.
	bodyLength, bodyLeft int64
	// unknown is set if the header leaves open where the next request begins.
	unknown bool
}

// part is a part of a request.
type part int

const (
	requestLine part = iota
	header
	body
	unscanned // all that follows is left as it is
)

// maxLine is the length up to which a headerScanner reads a line; a longer Content-Length
// counts as unknown.
const maxLine = 64

// scan corrects the headers Host in p, the next bytes of the connection.
func (s *headerScanner) scan(p []byte) {
	for len(p) > 0 && s.part != unscanned {
		n := len(p)
		if s.part == body {
			n = int(min(int64(n), s.bodyLeft))
			s.bodyLeft -= int64(n)
			if s.bodyLeft == 0 {
				s.part = requestLine
			}
		} else if end := bytes.IndexByte(p, '\n'); end < 0 {
			s.scanLine(p)
		} else {
			n = end + 1
			s.scanLine(p[:end])
			s.endLine()
		}
		p = p[n:]
	}
}

// scanLine corrects p, more bytes of the line that is being read, if the line is a header
// Host.
func (s *headerScanner) scanLine(p []byte) {
	before := s.length
	if before < maxLine {
		copy(s.start[before:], p)
	}
	s.length += len(p)
	const nameLength = len("Host:")
	if s.part != header || s.replaced || s.length <= nameLength || !bytes.EqualFold(s.start[:nameLength], []byte("Host:")) {
		return
	}
	value := p[max(nameLength-before, 0):]
	if at := bytes.IndexByte(value, '@'); at >= 0 {
		value[at] = ':'
		s.replaced = true
	}
}

// endLine notes what the line that has ended says of the body, and goes on with the next
// line or part.
func (s *headerScanner) endLine() {
	line := bytes.TrimSuffix(s.start[:min(s.length, maxLine)], []byte("\r"))
	whole := s.length <= maxLine
	s.length, s.replaced = 0, false
	switch {
	case s.part == requestLine && len(line) > 0: // net/http allows empty lines before
		s.part = header
	case s.part == header && len(line) > 0:
		s.noteFraming(line, whole)
	case s.part == header:
		s.endHeader()
	}
}

// noteFraming notes the length of the body, if the line of a header says something of it.
// whole is false if the line was longer.
func (s *headerScanner) noteFraming(line []byte, whole bool) {
	name, value, _ := bytes.Cut(line, []byte(":"))
	switch {
	case bytes.EqualFold(name, []byte("Content-Length")):
		n, err := strconv.ParseUint(string(bytes.Trim(value, " \t")), 10, 63)
		s.bodyLength = int64(n) //nolint:gosec // 63 bits
		s.unknown = s.unknown || err != nil || !whole
	case bytes.EqualFold(name, []byte("Transfer-Encoding")), bytes.EqualFold(name, []byte("Upgrade")):
		s.unknown = true
	case line[0] == ' ' || line[0] == '\t': // it continues the line before
		s.unknown = true
	}
}

// endHeader goes on with the body, or with the next request if there is none.
func (s *headerScanner) endHeader() {
	switch {
	case s.unknown:
		s.part = unscanned
	case s.bodyLength > 0:
		s.part, s.bodyLeft = body, s.bodyLength
	default:
		s.part = requestLine
	}
	s.bodyLength = 0
}
