package lenient

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"testing/iotest"
)

// pipeEnd is a connection of which a test sets what can be read.
type pipeEnd struct {
	net.Conn
	io.Reader
}

func (p pipeEnd) Read(b []byte) (int, error) { return p.Reader.Read(b) }

// frame is one frame of a text message, with that mask or none.
func frame(payload string, mask ...byte) string {
	b := []byte{0x81}
	bit := byte(0)
	if mask != nil {
		bit = maskBit
	}
	switch n := len(payload); {
	case n < 126:
		b = append(b, bit|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, bit|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, bit|127), uint64(n))
	}
	return string(append(b, mask...)) + payload
}

var zeros = []byte{0, 0, 0, 0}

func TestFrameConn(t *testing.T) {
	long, huge := strings.Repeat("y", 300), strings.Repeat("z", 70_000)
	masked := frame("\x01\x02", 1, 2, 3, 4)
	sent := frame("{}") + frame("") + masked + frame(long) + frame(huge) + "\x8a\x00" + masked + frame(huge, 9, 9, 9, 9) + "\x88\x00"
	want := frame("{}", zeros...) + frame("", zeros...) + masked + frame(long, zeros...) + frame(huge, zeros...) + "\x8a\x80\x00\x00\x00\x00" + masked + frame(huge, 9, 9, 9, 9) + "\x88\x80\x00\x00\x00\x00"
	for name, reader := range map[string]func(io.Reader) io.Reader{
		"whole": func(r io.Reader) io.Reader { return r }, "bytes": iotest.OneByteReader, "halves": iotest.HalfReader, "error with the last": iotest.DataErrReader,
	} {
		for _, before := range []int{0, 1, 3, 10} {
			t.Run(name, func(t *testing.T) {
				conn := NewFrameConn(pipeEnd{Reader: reader(strings.NewReader(sent[before:]))}, []byte(sent[:before]))
				if err := iotest.TestReader(conn, []byte(want)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// What has arrived is read without waiting for more.
func TestFrameConnDoesNotWait(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	conn := NewFrameConn(server, []byte(frame("{}")+"\x81"))
	got := make([]byte, 100)
	if n, err := conn.Read(got); string(got[:n]) != frame("{}", zeros...) || err != nil {
		t.Errorf("got %q, %v", got[:n], err)
	}
}

// An error in the middle of a header loses nothing.
func TestFrameConnAfterAnError(t *testing.T) {
	conn := NewFrameConn(pipeEnd{Reader: iotest.TimeoutReader(iotest.OneByteReader(strings.NewReader(frame("{}"))))}, nil)
	if _, err := io.ReadAll(conn); !errors.Is(err, iotest.ErrTimeout) {
		t.Fatalf("got %v", err)
	}
	if got, err := io.ReadAll(conn); string(got) != frame("{}", zeros...) || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
}

// Whatever a client sends, and in whatever pieces, is read with a mask in each frame, and
// else as it was sent.
func FuzzFrames(f *testing.F) {
	f.Add([]byte(frame("{}")+frame("ab", 1, 2, 3, 4)+frame(strings.Repeat("x", 700))), 3, 100)
	f.Add([]byte("\x81\xff\x80\x00\x00\x00\x00\x00\x00\x00abcd"), 1, 1)
	f.Add([]byte("\x82\x7e\x00"), 2, 5)
	f.Fuzz(func(t *testing.T, sent []byte, before, size int) {
		before = min(max(before, 0), len(sent))
		conn := NewFrameConn(pipeEnd{Reader: bytes.NewReader(sent[before:])}, sent[:before])
		var got []byte
		for piece := make([]byte, min(max(size, 1), 5000)); ; {
			n, err := conn.Read(piece)
			got = append(got, piece[:n]...)
			if err != nil {
				break
			}
		}
		if want := withMasks(sent); !bytes.Equal(want, got) {
			t.Fatalf("%q: got %q, want %q", sent, got, want)
		}
	})
}

// withMasks adds a mask to each frame that has none. A header that is not whole is left
// out.
func withMasks(sent []byte) (masked []byte) {
	for len(sent) >= 2 {
		head := 2
		switch sent[1] & 0x7f {
		case 126:
			head = 4
		case 127:
			head = 10
		}
		length := uint64(sent[1] & 0x7f)
		if sent[1]&0x80 != 0 {
			head += 4
		}
		if len(sent) < head {
			return masked
		}
		switch length {
		case 126:
			length = uint64(sent[2])<<8 | uint64(sent[3])
		case 127:
			length = binary.BigEndian.Uint64(sent[2:10])
		}
		masked = append(masked, sent[:head]...)
		if sent[1]&0x80 == 0 {
			masked[len(masked)-head+1] |= 0x80
			masked = append(masked, 0, 0, 0, 0)
		}
		sent = sent[head:]
		n := min(length, uint64(len(sent)))
		masked, sent = append(masked, sent[:n]...), sent[n:]
	}
	return masked
}
