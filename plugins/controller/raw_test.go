package controller

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const echo = `{"id":1,"method":"Plain.1.echo","params":7}`

// The bytes of a request, and the beginning of its response.
func TestRawRequests(t *testing.T) {
	h := newHost(t, setup{})
	post := func(version, path, headers, body string) string {
		return "POST " + path + " HTTP/" + version + "\r\nHost: localhost\r\n" + headers + "\r\n" + body
	}
	sized := func(body string) string { return "Content-Length: " + strconv.Itoa(len(body)) + "\r\n" }
	const hostInBody = "{\"id\":1,\"method\":\"Plain.1.echo\",\"params\":\r\n\r\n\"Host: a@b\"}"
	const answered = `{"jsonrpc":"2.0","id":1,"result":7}`
	for _, tt := range []struct {
		name, send string
		want       []string
	}{
		{"no HTTP", "{\"id\":1}\r\n\r\n", []string{"400 400 Bad Request"}},
		{"greeting of another protocol", "SSH-2.0-OpenSSH_9.2\r\n", []string{"400 400 Bad Request"}},
		{"request target with a space", "GET /heal thz HTTP/1.1\r\nHost: localhost\r\n\r\n", []string{"400 400 Bad Request"}},
		{"HTTP/2 without TLS", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", []string{"403 "}},
		{"no Host", "GET /healthz HTTP/1.1\r\n\r\n", []string{"400 400 Bad Request: missing required Host header"}},
		{"HTTP/1.0 without Host", "GET /healthz HTTP/1.0\r\n\r\n", []string{"403 the Host header names none"}},
		{"two Hosts", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", []string{"400 400 Bad Request"}},
		{"Host in the request target", "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", []string{"403 "}},
		{"port behind an @", "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1@9998\r\n\r\n", []string{"200 ok"}},
		{"port behind an @, kept alive", strings.Repeat(strings.Replace(post("1.1", "/jsonrpc", sized(echo), echo), "localhost", "127.0.0.1@9998", 1), 3), []string{"200 " + answered, "200 " + answered, "200 " + answered}},
		{"two @", "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1@9998@1\r\n\r\n", []string{"400 400 Bad Request: malformed Host header"}},
		{"evil Host with an @", "GET /healthz HTTP/1.1\r\nHost: evil.example@9998\r\n\r\n", []string{"403 the Host header names none"}},
		{"a body like a header", post("1.1", "/jsonrpc", sized(hostInBody), hostInBody), []string{`200 {"jsonrpc":"2.0","id":1,"result":"Host: a@b"}`}},
		{"HTTP/1.0", post("1.0", "/jsonrpc", sized(echo), echo), []string{"200 " + answered}},
		{"HTTP/1.0 kept alive", strings.Repeat(post("1.0", "/jsonrpc", "Connection: keep-alive\r\n"+sized(echo), echo), 2), []string{"200 " + answered, "200 " + answered}},
		{"chunks", post("1.1", "/jsonrpc", "Transfer-Encoding: chunked\r\n", "5\r\n"+echo[:5]+"\r\n"+strconv.FormatInt(int64(len(echo)-5), 16)+"\r\n"+echo[5:]+"\r\n0\r\n\r\n"), []string{"200 " + answered}},
		{"broken chunks", post("1.1", "/jsonrpc", "Transfer-Encoding: chunked\r\n", "zz\r\n"), []string{"400 the body could not be read"}},
		{"chunks and a length", post("1.1", "/jsonrpc", sized(echo)+"Transfer-Encoding: chunked\r\n", "0\r\n\r\n"), []string{"405 JSON-RPC only supported"}},
		{"unknown encoding", post("1.1", "/jsonrpc", "Transfer-Encoding: gzip\r\n", ""), []string{"501 "}},
		{"Expect", post("1.1", "/jsonrpc", "Expect: 100-continue\r\n"+sized(echo), echo), []string{"100 ", "200 " + answered}},
		{"Expect of what is refused", post("1.1", "/jsonrpc/Nope", "Expect: 100-continue\r\nContent-Length: 9\r\n", ""), []string{"404 "}},
		{"unknown Expect", post("1.1", "/jsonrpc", "Expect: more\r\n"+sized(echo), ""), []string{"417 "}},
		{"kept alive", strings.Repeat(post("1.1", "/jsonrpc", sized(echo), echo), 3), []string{"200 " + answered, "200 " + answered, "200 " + answered}},
		{"error, then the next", post("1.1", "/jsonrpc/Nope", sized(echo), echo) + post("1.1", "/jsonrpc", sized(echo), echo), []string{"404 ", "200 " + answered}},
		{"empty body, then the next", post("1.1", "/jsonrpc", sized(""), "") + "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", []string{"405 ", "200 ok"}},
		{"long header", "GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 32<<10) + "\r\n\r\n", []string{"431 "}},
		{"long path", "GET /" + strings.Repeat("x", 32<<10) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", []string{"431 "}},
		{"negative length", post("1.1", "/jsonrpc", "Content-Length: -1\r\n", ""), []string{"400 "}},
		{"two lengths", post("1.1", "/jsonrpc", "Content-Length: 1\r\nContent-Length: 2\r\n", ""), []string{"400 "}},
		{"length of an enormous body", post("1.1", "/jsonrpc", "Content-Length: 9223372036854775807\r\n", strings.Repeat(" ", 1<<20+1)), []string{"413 "}},
		{"percent-encoded callsign", post("1.1", "/jsonrpc/org%2etest%2eDotted", sized(`{"id":1,"method":"echo","params":7}`), `{"id":1,"method":"echo","params":7}`), []string{"200 " + answered}},
		{"callsign with a slash", post("1.1", "/jsonrpc/Plain%2fx", sized(echo), echo), []string{"404 "}},
		{"callsign of markup", post("1.1", "/jsonrpc/%3Cscript%3E", sized(echo), echo), []string{"404 404 page not found"}},
		{"bad percent-encoding", post("1.1", "/jsonrpc/%zz", sized(echo), echo), []string{"400 "}},
		{"evil Host on upgrade", upgrade("Host: evil.example\r\n"), []string{"403 the Host header"}},
		{"Host of Thunder's client on upgrade", upgrade("Host: 127.0.0.1@9998\r\nOrigin: 0.0.0.0@0\r\n"), []string{"101 "}},
		{"evil Origin on upgrade", upgrade("Host: localhost\r\nOrigin: http://evil.example\r\n"), []string{"403 pages of this origin"}},
		{"upgrade of another version", strings.Replace(upgrade("Host: localhost\r\n"), "Version: 13", "Version: 8", 1), []string{"400 "}},
		{"upgrade without a key", strings.Replace(upgrade("Host: localhost\r\n"), "Sec-WebSocket-Key", "X-Key", 1), []string{"400 "}},
		{"upgrade by POST", strings.Replace(upgrade("Host: localhost\r\n"), "GET", "POST", 1), []string{"405 "}},
		{"CONNECT", "CONNECT localhost:80 HTTP/1.1\r\nHost: localhost\r\n\r\n", []string{"405 "}},
		{"TRACE", "TRACE /Service/Controller HTTP/1.1\r\nHost: localhost\r\n\r\n", []string{"405 "}},
		{"asterisk", "OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n", []string{"200 "}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn := h.connect(t)
			go func() { _, _ = io.WriteString(conn, tt.send) }() // what is refused may not be read
			began := time.Now()
			reader := bufio.NewReader(conn)
			var got []string
			for _, want := range tt.want {
				a := readAnswer(t, conn, reader)
				text := fmt.Sprint(a.status, " ", a.body)
				got = append(got, text[:min(len(text), len(want))])
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("answers (-want +got):\n%s", diff)
			}
			if took := time.Since(began); took > time.Second {
				t.Errorf("answered after %v", took)
			}
		})
	}
}

func upgrade(headers string) string {
	return "GET /jsonrpc HTTP/1.1\r\n" + headers +
		"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
}

// Requests that were sent without waiting are answered in their order.
func TestPipeline(t *testing.T) {
	const calls = 60
	h := newHost(t, setup{})
	var send strings.Builder
	for i := range calls {
		body := fmt.Sprintf(`{"id":%d,"method":"Plain.1.echo"}`, i)
		fmt.Fprintf(&send, "POST /jsonrpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	}
	conn := h.connect(t)
	if _, err := io.WriteString(conn, send.String()); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	for i := range calls {
		want := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"result":null}`, i)
		if a := readAnswer(t, conn, reader); a.body != want {
			t.Fatalf("got %s, want %s", a.body, want)
		}
	}
}

// A client may say that it has sent everything, and still gets its answer.
func TestHalfClosed(t *testing.T) {
	h := newHost(t, setup{})
	conn := h.connect(t)
	if _, err := fmt.Fprintf(conn, "POST /jsonrpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(echo), echo); err != nil {
		t.Fatal(err)
	}
	if tcp, ok := conn.(*net.TCPConn); !ok || tcp.CloseWrite() != nil {
		t.Fatal("cannot close one direction")
	}
	if a := readAnswer(t, conn, bufio.NewReader(conn)); a.status != 200 {
		t.Errorf("got %d %s", a.status, a.body)
	}
	readToEnd(t, conn)
}

func TestTLSIsRefused(t *testing.T) {
	h := newHost(t, setup{limits: func(l *limits) { l.headerTime = 500 * time.Millisecond }})
	conn := tls.Client(h.connect(t), &tls.Config{ServerName: "localhost"})
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := conn.HandshakeContext(t.Context()); err == nil || time.Since(began) > time.Second {
		t.Errorf("got %v after %v", err, time.Since(began))
	}
}
