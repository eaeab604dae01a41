package controller

import (
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
)

// Thunder's C++ client answers a ping with an empty pong, after which it is alive.
func TestEmptyPongs(t *testing.T) {
	h := newHost(t, setup{limits: func(l *limits) { l.pingEvery, l.pongTime = time.Millisecond, 50*time.Millisecond }})
	conn, reader := h.upgraded(t, "Origin: 0.0.0.0@0\r\n")
	for i := range 5 {
		if got := readFrame(t, conn, reader); got != fmt.Sprintf("ping %d", i+1) {
			t.Fatalf("got %s", got)
		}
		if _, err := conn.Write(unmasked(final|pong, "")); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.Write(unmasked(final|textFrame, echo)); err != nil {
		t.Fatal(err)
	}
	for {
		switch got := readFrame(t, conn, reader); got {
		case `text {"jsonrpc":"2.0","id":1,"result":7}`:
			return
		case "ping 6", "ping 7":
		default:
			t.Fatalf("got %s", got)
		}
	}
}

// Thunder's C++ client reads no frame of more than 64 KiB: a longer answer comes in several.
func TestLongAnswersComeInFrames(t *testing.T) {
	h := newHost(t, setup{})
	for _, size := range []int{65_000, 65_535, 65_536, 200_000} {
		conn, reader := h.upgraded(t, "Origin: 0.0.0.0\r\n")
		want := `{"jsonrpc":"2.0","id":1,"result":"` + strings.Repeat("x", size-36) + `"}`
		request := call("Plain.1.echo", `"`+strings.Repeat("x", size-36)+`"`)
		if _, err := conn.Write(frame(final|textFrame, request)); err != nil {
			t.Fatal(err)
		}
		var got strings.Builder
		for last := false; !last; {
			var head [4]byte
			if _, err := io.ReadFull(reader, head[:2]); err != nil {
				t.Fatal(err)
			}
			last = head[0]&final != 0
			length := int64(head[1])
			switch length {
			case 126:
				if _, err := io.ReadFull(reader, head[2:]); err != nil {
					t.Fatal(err)
				}
				length = int64(binary.BigEndian.Uint16(head[2:]))
			case 127:
				t.Fatalf("%d bytes came in a frame of more than 64 KiB", size)
			}
			if _, err := io.CopyN(&got, reader, length); err != nil {
				t.Fatal(err)
			}
		}
		if got.String() != want || got.Len() != size {
			t.Errorf("got %d bytes, want %d", got.Len(), size)
		}
	}
}

// Whatever comes from a client shows that it lives, also if it answers no ping.
func TestEveryFrameIsLife(t *testing.T) {
	const pong = 100 * time.Millisecond
	h := newHost(t, setup{limits: func(l *limits) { l.pingEvery, l.pongTime = time.Millisecond, pong }})
	conn, reader := h.upgraded(t, "Origin: 0.0.0.0\r\n")
	piece := [][]byte{unmasked(final|textFrame, echo), unmasked(textFrame, `{"id":1,`), unmasked(final|fragment, `"method":"Plain.1.echo"}`)}
	pings := 0
	for i := 0; pings < 8; i++ {
		if _, err := conn.Write(piece[i%len(piece)]); err != nil {
			t.Fatal(err)
		}
		for pinged := false; !pinged; {
			frame := readFrame(t, conn, reader)
			pinged = frame[:4] == "ping"
			if !pinged && frame[:4] != "text" {
				t.Fatalf("got %s", frame)
			}
		}
		pings++
	}
	readToEnd(t, conn) // now it sends nothing any more
	h.waitForLog(t, "it does not answer a ping")
}

// A client that answers no ping lives too if it sends something between two of them.
func TestLifeBetweenPings(t *testing.T) {
	t.Parallel()
	h := newHost(t, setup{limits: func(l *limits) { l.pingEvery, l.pongTime = time.Second, 10*time.Millisecond }})
	conn, reader := h.upgraded(t, "Origin: 0.0.0.0\r\n")
	for range 4 {
		for frame := "text"; frame[:4] == "text"; { // the answer to the call before
			frame = readFrame(t, conn, reader)
		}
		<-time.After(100 * time.Millisecond) // the time for the pong is over
		if _, err := conn.Write(unmasked(final|textFrame, echo)); err != nil {
			t.Fatal(err)
		}
	}
}
