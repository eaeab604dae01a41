package controller

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
)

// Kinds of frames.
const (
	fragment  = 0x0
	textFrame = 0x1
	binFrame  = 0x2
	closing   = 0x8
	ping      = 0x9
	pong      = 0xa
	final     = 0x80
)

// What no websocket library would send, and how it ends.
func TestFrames(t *testing.T) {
	h := newHost(t, setup{})
	code := func(n uint16, why string) string { return string(binary.BigEndian.AppendUint16(nil, n)) + why }
	for _, tt := range []struct {
		name string
		send []byte
		want []string
	}{
		{"answer", frame(final|textFrame, echo), []string{`text {"jsonrpc":"2.0","id":1,"result":7}`}},
		{"fragments around a ping", bytes.Join([][]byte{frame(textFrame, echo[:9]), frame(final|ping, "there?"), frame(fragment, echo[9:20]), frame(final|fragment, echo[20:])}, nil), []string{"pong there?", `text {"jsonrpc":"2.0","id":1,"result":7}`}},
		{"empty fragments", bytes.Join([][]byte{frame(textFrame, ""), frame(fragment, ""), frame(fragment, echo), frame(final|fragment, "")}, nil), []string{`text {"jsonrpc":"2.0","id":1,"result":7}`}},
		{"pong that nobody asked for", append(frame(final|pong, "x"), frame(final|ping, "y")...), []string{"pong y"}},
		{"empty message", frame(final|textFrame, ""), []string{`text {"jsonrpc":"2.0","error":{"code":-32700,"message":"Parsing of the parameters failed","data":{"cause":"the message is not JSON: unexpected end of JSON input"}}}`}},
		{"invalid UTF-8", frame(final|textFrame, `{"id":1,"method":"Plain.1.echo","params":"`+"\xff\xc0"+`"}`), []string{`text {"jsonrpc":"2.0","error":{"code":-32700`}},
		{"binary", frame(final|binFrame, echo), []string{"close 1003"}},
		{"too large", append(header(final|textFrame, 8<<20), make([]byte, 1<<20+1)...), []string{"close 1009"}},
		{"too large in fragments", append(frame(textFrame, strings.Repeat(" ", 1<<19)), frame(fragment, strings.Repeat(" ", 1<<19+1))...), []string{"close 1009"}},
		{"close", frame(final|closing, code(1000, "bye")), []string{"close 1000"}},
		{"close of its own", frame(final|closing, code(4321, "")), []string{"close 4321"}},
		{"close without a reason", frame(final|closing, ""), []string{"close"}},
		{"close code that must not be sent", frame(final|closing, code(1006, "")), []string{"close 1002"}},
		{"half a close code", frame(final|closing, "\x03"), []string{"close 1002"}},
		{"not masked", unmasked(final|textFrame, echo), []string{`text {"jsonrpc":"2.0","id":1,"result":7}`}},
		{"not masked, in fragments around a ping", bytes.Join([][]byte{unmasked(textFrame, echo[:5]), unmasked(final|ping, ""), unmasked(final|fragment, echo[5:])}, nil), []string{"pong ", `text {"jsonrpc":"2.0","id":1,"result":7}`}},
		{"not masked, too large", append([]byte("\x81\x7f\x00\x00\x00\x00\x00\x80\x00\x00"), make([]byte, 1<<20+1)...), []string{"close 1009"}},
		{"not masked, of negative length", []byte("\x81\x7f\xff\xff\xff\xff\xff\xff\xff\xff{}"), nil}, // ends at once
		{"not masked close", unmasked(final|closing, ""), []string{"close"}},
		{"reserved bit", frame(final|0x40|textFrame, "{}"), []string{"close 1002"}},
		{"unknown kind", frame(final|0x3, "{}"), []string{"close 1002"}},
		{"end of what has not begun", frame(final|fragment, "{}"), []string{"close 1002"}},
		{"message within a message", append(frame(textFrame, "{"), frame(final|textFrame, "{}")...), []string{"close 1002"}},
		{"long ping", frame(final|ping, strings.Repeat("x", 126)), []string{"close 1002"}},
		{"ping in fragments", frame(ping, "x"), []string{"close 1002"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn, reader := h.upgraded(t, "")
			go func() { _, _ = conn.Write(tt.send) }() // what is refused may not be read
			began := time.Now()
			var got []string
			for _, want := range tt.want {
				f := readFrame(t, conn, reader)
				got = append(got, f[:min(len(f), len(want))])
			}
			if tt.want == nil {
				readToEnd(t, conn)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("frames (-want +got):\n%s", diff)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("answered after %v", took)
			}
		})
	}
}

// A browser masks its frames; one that does not is somebody else in its name.
func TestUnmaskedFramesOfAPage(t *testing.T) {
	h := newHost(t, setup{host: configs.Host{AllowedOrigins: []string{"null"}}})
	for _, headers := range []string{"Origin: http://localhost\r\n", "Origin: null\r\n", "Origin: 0.0.0.0\r\nOrigin: null\r\n", "Sec-Fetch-Site: none\r\n"} {
		conn, reader := h.upgraded(t, headers)
		if _, err := conn.Write(frame(final|textFrame, echo)); err != nil {
			t.Fatal(err)
		}
		if got := readFrame(t, conn, reader); got != `text {"jsonrpc":"2.0","id":1,"result":7}` {
			t.Errorf("%s: got %s", headers, got)
		}
		if _, err := conn.Write(unmasked(final|textFrame, echo)); err != nil {
			t.Fatal(err)
		}
		readToEnd(t, conn)
	}
}

// upgraded is a websocket without any library. headers are lines of its request.
func (h *host) upgraded(t *testing.T, headers string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn := h.connect(t)
	if _, err := io.WriteString(conn, upgrade("Host: localhost\r\n"+headers)); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	if a := readAnswer(t, conn, reader); a.status != 101 {
		t.Fatalf("got %d %s", a.status, a.body)
	}
	return conn, reader
}

// frame is one masked frame; the first byte holds its kind and its flags.
func frame(first byte, payload string) []byte {
	return append(header(first, len(payload)), payload...) // the mask is zero
}

// unmasked is one frame of at most 125 bytes as Thunder's C++ client sends it.
func unmasked(first byte, payload string) []byte {
	return append([]byte{first, byte(len(payload))}, payload...)
}

func header(first byte, length int) []byte {
	b := []byte{first}
	switch {
	case length < 126:
		b = append(b, 0x80|byte(length))
	case length < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(length))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), uint64(length))
	}
	return append(b, 0, 0, 0, 0)
}

// readFrame reads the next frame as text: its kind, then what it holds.
func readFrame(t *testing.T, conn net.Conn, from *bufio.Reader) string {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var head [2]byte
	if _, err := io.ReadFull(from, head[:]); err != nil {
		t.Fatal(err)
	}
	length := int(head[1])
	if length == 126 {
		var long [2]byte
		if _, err := io.ReadFull(from, long[:]); err != nil {
			t.Fatal(err)
		}
		length = int(binary.BigEndian.Uint16(long[:]))
	}
	payload := make([]byte, length)
	if _, err := io.ReadFull(from, payload); err != nil {
		t.Fatal(err)
	}
	switch kind := head[0] &^ final; {
	case kind == closing && length >= 2:
		return fmt.Sprintf("close %d %s", binary.BigEndian.Uint16(payload), payload[2:])
	default:
		return fmt.Sprintf("%s %s", map[byte]string{textFrame: "text", binFrame: "binary", closing: "close", ping: "ping", pong: "pong"}[kind], payload)
	}
}
