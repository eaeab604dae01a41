package conformance

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// thunderUpgrades are the bytes with which Thunder's C++ client asks for a websocket,
// by the release that sends them.
var thunderUpgrades = map[string]string{
	"R4.4.5": thunderUpgrade("127.0.0.1", "0.0.0.0"),
	"master": thunderUpgrade("127.0.0.1@9998", "0.0.0.0@0"),
}

func thunderUpgrade(host, origin string) string {
	return strings.Join([]string{
		"GET /jsonrpc/ HTTP/1.1", "Host: " + host, "Connection: UPGRADE", "Upgrade: WEBSOCKET", "Origin: " + origin,
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: JSON", "Sec-WebSocket-Version: 13", "Content-Length: 0", "", "",
	}, "\r\n")
}

// thunderClient is one websocket as Thunder's C++ client uses it: its frames have no
// mask, and its pongs no payload.
type thunderClient struct {
	conn    net.Conn
	from    *bufio.Reader
	writing sync.Mutex
	pings   int // that were answered; only the reader uses it
}

func dialAsThunder(t *testing.T, h *host, release string) *thunderClient {
	t.Helper()
	upgrade, known := thunderUpgrades[release]
	if !known {
		t.Fatalf("there is no release %q", release)
	}
	conn, err := net.Dial("tcp", h.address)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, upgrade); err != nil {
		t.Fatal(err)
	}
	c := &thunderClient{conn: conn, from: bufio.NewReader(conn)}
	response, err := http.ReadResponse(c.from, nil) //nolint:bodyclose // the rest of the connection
	if err != nil {
		t.Fatal(err)
	}
	if accept := response.Header.Get("Sec-WebSocket-Accept"); response.StatusCode != http.StatusSwitchingProtocols || accept != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("got the status %s, accepted with %q", response.Status, accept)
	}
	if protocol := response.Header.Get("Sec-WebSocket-Protocol"); protocol != "JSON" {
		t.Errorf("got the subprotocol %q", protocol)
	}
	return c
}

// Write sends a message in frames of less than 64 KiB.
func (c *thunderClient) Write(_ context.Context, _ websocket.MessageType, message []byte) error {
	const final, text, longest = 0x80, 1, 60_000
	kind := byte(text)
	for ; len(message) > longest; message = message[longest:] {
		if err := c.writeFrame(kind, message[:longest]); err != nil {
			return err
		}
		kind = 0 // more of the same message
	}
	return c.writeFrame(final|kind, message)
}

func (c *thunderClient) writeFrame(first byte, payload []byte) error {
	frame := []byte{first, byte(len(payload))}
	if len(payload) > 125 { // up to 64 KiB, as Thunder
		frame = binary.BigEndian.AppendUint16([]byte{first, 126}, uint16(len(payload)))
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	_, err := c.conn.Write(append(frame, payload...))
	return err
}

// Read returns the next message, and answers the pings before it.
func (c *thunderClient) Read(context.Context) (websocket.MessageType, []byte, error) {
	const final, fragment, text, ping, pong = 0x80, 0, 1, 9, 10
	for message := []byte(nil); ; {
		var head [2]byte
		if _, err := io.ReadFull(c.from, head[:]); err != nil {
			return 0, nil, err
		}
		length := uint64(head[1])
		switch length {
		case 126:
			var long [2]byte
			if _, err := io.ReadFull(c.from, long[:]); err != nil {
				return 0, nil, err
			}
			length = uint64(binary.BigEndian.Uint16(long[:]))
		case 127:
			return 0, nil, errors.New("a frame of more than 64 KiB, which Thunder does not read")
		}
		payload := make([]byte, length)
		if _, err := io.ReadFull(c.from, payload); err != nil {
			return 0, nil, err
		}
		switch head[0] {
		case text, fragment:
			message = append(message, payload...)
		case final | text, final | fragment:
			return websocket.MessageText, append(message, payload...), nil
		case final | ping:
			c.pings++
			if err := c.writeFrame(final|pong, nil); err != nil {
				return 0, nil, err
			}
		default:
			return 0, nil, fmt.Errorf("a frame that begins with %#x", head[0])
		}
	}
}

// CloseNow ends the connection without a closing frame, as Thunder does.
func (c *thunderClient) CloseNow() error { return c.conn.Close() }

// stay is how long the clients of TestThunderClientStays stay connected. The host pings
// them every 30 seconds.
func stay() time.Duration {
	if os.Getenv("DORMOUSE_FAULTS") == "all" { // make e2e
		return 2 * time.Minute
	}
	return 2 * time.Second
}

// Thunder's C++ client stays connected, idle or busy, in both dialects. All clients are
// connected at the same time.
func TestThunderClientStays(t *testing.T) {
	t.Parallel()
	for _, dialect := range []string{"r4", "r5"} {
		t.Run(dialect, func(t *testing.T) {
			t.Parallel()
			h := &host{programs: build(t), root: t.TempDir(), dialect: dialect}
			h.start(t)
			defer h.stop(t)
			calls := time.NewTicker(10 * time.Millisecond)
			defer calls.Stop()
			var all sync.WaitGroup
			defer all.Wait()
			for release := range thunderUpgrades {
				idle, busy := dialAsThunder(t, h, release), dialAsThunder(t, h, release)
				all.Go(func() { testThunderClientStays(t, idle, release+", idle", nil) })
				all.Go(func() { testThunderClientStays(t, busy, release+", busy", calls.C) })
			}
		})
	}
}

// testThunderClientStays calls a method of a client at each tick of calls, and at the end
// gets an event.
func testThunderClientStays(t *testing.T, client *thunderClient, name string, calls <-chan time.Time) { //nolint:thelper // the test itself
	s := newSocket(t.Context(), client)
	defer s.close()
	registered := s.send(t.Context(), t, `{"jsonrpc":"2.0","id":1,"method":"Plain.1.register","params":{"event":"changed","id":"p"}}`, true)
	if strings.Contains(registered.body, "error") {
		t.Errorf("%s: %s", name, registered.body)
	}
	params := `"` + strings.Repeat("x", 300) + `"`
	for stays, end := true, time.After(stay()); stays; {
		select {
		case <-calls:
			answer := s.send(t.Context(), t, `{"jsonrpc":"2.0","id":2,"method":"Plain.1.echo","params":`+params+`}`, true).body
			if want := `{"jsonrpc":"2.0","id":2,"result":` + params + `}`; answer != want {
				t.Errorf("%s: got %q, want %q", name, answer, want)
				return
			}
		case <-s.read:
			t.Errorf("%s: the host has ended the connection", name)
			return
		case <-end:
			stays = false
		}
	}
	s.send(t.Context(), t, `{"jsonrpc":"2.0","id":3,"method":"Plain.1.notify","params":{"client":"`+name+`"}}`, true)
	for want := `{"jsonrpc":"2.0","method":"p.changed","params":{"client":"` + name + `"}}`; ; {
		if event := next(t.Context(), t, s.events); event == want || event == "" {
			break // the others are other clients'
		}
	}
	s.close()
	if least := int(stay() / (31 * time.Second)); client.pings < least {
		t.Errorf("%s: the client was pinged %d times, want at least %d", name, client.pings, least)
	}
}
