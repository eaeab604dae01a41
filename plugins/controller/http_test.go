package controller

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/plugins/peer"
)

func TestPost(t *testing.T) {
	h := newHost(t, setup{})
	for _, tt := range []struct {
		name, path, body string
		status           int
		want             string
	}{
		{"good", "/jsonrpc", call("Plain.1.echo", `"ü"`), 200, `{"jsonrpc":"2.0","id":1,"result":"ü"}`},
		{"slash at the end", "/jsonrpc/", call("Plain.1.echo", `1`), 200, `{"jsonrpc":"2.0","id":1,"result":1}`},
		{"error", "/jsonrpc", call("Plain.1.nope", ""), 202, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Unknown method."}}`},
		{"notification", "/jsonrpc", `{"method":"Plain.1.echo"}`, 204, ``},
		{"failing notification", "/jsonrpc", `{"method":"Plain.1.nope"}`, 202, `{"jsonrpc":"2.0","error":{"code":-32601,"message":"Unknown method."}}`},
		{"malformed", "/jsonrpc", `{`, 400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"Parsing of the parameters failed","data":{"cause":"the message is not JSON: unexpected end of JSON input"}}}`},
		{"bad id", "/jsonrpc", `{"id":[1.5],"method":"x"}`, 400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"Invalid request.","data":{"cause":"the message is not a JSON-RPC request: its id is neither a number nor a string"}}}`},
		{"batch", "/jsonrpc", `[{"id":1,"method":"Plain.nope"},{"method":"Plain.echo"}]`, 200, `[{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Unknown method."}}]`},
		{"batch of notifications", "/jsonrpc", `[{"method":"Plain.echo"}]`, 204, ``},
		{"empty", "/jsonrpc", ``, 405, "JSON-RPC only supported via POST request with a body\n"},
		{"path names the callsign", "/jsonrpc/Plain", call("echo", `1`), 200, `{"jsonrpc":"2.0","id":1,"result":1}`},
		{"path and method name it", "/jsonrpc/Plain", call("Plain.1.echo", `1`), 200, `{"jsonrpc":"2.0","id":1,"result":1}`},
		{"path and method differ", "/jsonrpc/Plain", call("Auto.1.echo", `1`), 202, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Unknown method.","data":{"cause":"the path names Plain, the method names \"Auto\""}}}`},
		{"path names nobody", "/jsonrpc/Nope", call("echo", ""), 404, "404 page not found\n"},
		{"no such path", "/jsonrpc/Plain/x", call("echo", ""), 404, "404 page not found\n"},
		{"REST", "/Service/Controller", `{}`, 400, "There are no POST handlers!\n"},
		{"largest", "/jsonrpc", call("Plain.1.echo", `1`) + strings.Repeat(" ", 1<<20-len(call("Plain.1.echo", `1`))), 200, `{"jsonrpc":"2.0","id":1,"result":1}`},
		{"too large", "/jsonrpc", strings.Repeat(" ", 1<<20+1), 413, "the body has more than 1048576 bytes\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, got := h.post(t, tt.path, tt.body)
			if diff := cmp.Diff(fmt.Sprint(tt.status, " ", tt.want), fmt.Sprint(status, " ", got)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

func TestBrowserGuard(t *testing.T) {
	h := newHost(t, setup{host: configs.Host{
		AllowedHosts:   []string{"TV.example"},
		AllowedOrigins: []string{"https://remote.example", "file://"},
	}})
	own := strings.TrimPrefix(h.server.URL, "http://")
	for _, tt := range []struct {
		name, method string
		headers      []string
		want         int
	}{
		{"own name", http.MethodPost, nil, 200},
		{"localhost", http.MethodPost, []string{"Host", "LocalHost:1234"}, 200},
		{"IPv6 loopback", http.MethodPost, []string{"Host", "[::1]:9998"}, 200},
		{"IPv6 loopback without a port", http.MethodPost, []string{"Host", "[::1]"}, 200},
		{"allowed host", http.MethodPost, []string{"Host", "tv.example:80"}, 200},
		{"rebound name", http.MethodPost, []string{"Host", "evil.example"}, 403},
		{"name like a loopback address", http.MethodPost, []string{"Host", "127.0.0.1.evil.example"}, 403},
		{"own origin", http.MethodPost, []string{"Origin", "http://" + own}, 200},
		{"allowed origin", http.MethodPost, []string{"Origin", "https://remote.example"}, 200},
		{"allowed origin, other scheme", http.MethodPost, []string{"Origin", "http://remote.example"}, 403},
		{"other origin", http.MethodPost, []string{"Origin", "https://evil.example"}, 403},
		{"other port", http.MethodPost, []string{"Origin", "http://127.0.0.1:1"}, 403},
		{"null origin", http.MethodPost, []string{"Origin", "null"}, 403},
		{"Null origin", http.MethodPost, []string{"Origin", "Null"}, 403},
		{"allowed page in a file", http.MethodPost, []string{"Origin", "file://"}, 200},
		{"extension of a browser", http.MethodPost, []string{"Origin", "chrome-extension://abc"}, 403},
		{"Thunder R4's client", http.MethodPost, []string{"Origin", "0.0.0.0"}, 200},
		{"Thunder master's client", http.MethodPost, []string{"Origin", "0.0.0.0@0"}, 200},
		{"form", http.MethodPost, []string{"Content-Type", "application/x-www-form-urlencoded"}, 200},
		{"plain text", http.MethodPost, []string{"Content-Type", "text/plain;"}, 200},
		{"JSON-RPC's type", http.MethodPost, []string{"Content-Type", "application/json-rpc"}, 200},
		{"unreadable type", http.MethodPost, []string{"Content-Type", "application/json;;"}, 200},
		{"no type", http.MethodPost, []string{"Content-Type", ""}, 200},
		{"plain text of Thunder's client", http.MethodPost, []string{"Origin", "0.0.0.0", "Content-Type", "text/plain;"}, 200},
		{"form of a page", http.MethodPost, []string{"Origin", "https://remote.example", "Content-Type", "application/x-www-form-urlencoded"}, 415},
		{"plain text of a page", http.MethodPost, []string{"Origin", "https://remote.example", "Content-Type", "text/plain;charset=UTF-8"}, 415},
		{"unreadable type of a page", http.MethodPost, []string{"Origin", "https://remote.example", "Content-Type", "application/json;;"}, 415},
		{"no type of a page", http.MethodPost, []string{"Origin", "https://remote.example", "Content-Type", ""}, 200},
		{"type with charset of a page", http.MethodPost, []string{"Origin", "https://remote.example", "Content-Type", "Application/JSON; charset=utf-8"}, 200},
		{"form of a page without an Origin", http.MethodPost, []string{"Sec-Fetch-Site", "cross-site", "Content-Type", "application/x-www-form-urlencoded"}, 415},
		{"GET", http.MethodGet, nil, 405},
		{"PUT", http.MethodPut, nil, 405},
		{"OPTIONS", http.MethodOptions, nil, 405},
		{"preflight", http.MethodOptions, []string{"Origin", "https://remote.example", "Access-Control-Request-Method", "POST"}, 204},
		{"preflight of another origin", http.MethodOptions, []string{"Origin", "https://evil.example", "Access-Control-Request-Method", "POST"}, 403},
	} {
		t.Run(tt.name, func(t *testing.T) {
			headers := append([]string{"Content-Type", "application/json"}, tt.headers...)
			got := h.request(t, tt.method, "/jsonrpc", call("Plain.1.echo", ""), headers...)
			if got.status != tt.want {
				t.Errorf("got %d %s, want %d", got.status, got.body, tt.want)
			}
			origin := ""
			if i := slices.Index(headers, "Origin"); i >= 0 {
				origin = headers[i+1]
			}
			if !isBrowserOrigin(origin) {
				origin = ""
			}
			allowed := got.header.Get("Access-Control-Allow-Origin")
			if tt.want < 300 && allowed != origin || tt.want == 403 && allowed != "" {
				t.Errorf("origin %q was answered with %q", origin, allowed)
			}
		})
	}
}

func TestHealth(t *testing.T) {
	h := newHost(t, setup{})
	if got := h.request(t, http.MethodGet, "/healthz", ""); got.status != 200 || got.body != "ok" {
		t.Errorf("got %d %q", got.status, got.body)
	}
}

func TestClosedFrontServesNobody(t *testing.T) {
	h := newHost(t, setup{})
	if err := h.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status, answer := h.post(t, "/jsonrpc", call("Plain.1.echo", "")); status != 503 {
		t.Errorf("got %d %s", status, answer)
	}
}

// A client that stops in the middle of something is not waited for.
func TestSlowRequests(t *testing.T) {
	h := newHost(t, setup{limits: func(l *limits) {
		l.headerTime, l.bodyTime, l.idleTime = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	}})
	for _, tt := range []struct{ name, send string }{
		{"header", "POST /jsonrpc HTTP/1.1\r\nHost: localhost\r\n"},
		{"header of Thunder's client", "POST /jsonrpc HTTP/1.1\r\nHost: 127.0.0.1@"},
		{"body", "POST /jsonrpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{"},
		{"body that nobody reads", "GET /metrics HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{"},
		{"body of PUT", "PUT /Service/Controller/Persist HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n{"},
		{"nothing", ""},
		{"next request", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			conn := h.connect(t)
			if _, err := conn.Write([]byte(tt.send)); err != nil {
				t.Fatal(err)
			}
			readToEnd(t, conn)
		})
	}
}

// The header of a further request has no more time than that of the first.
func TestSlowFurtherHeader(t *testing.T) {
	h := newHost(t, setup{limits: func(l *limits) { l.headerTime, l.idleTime = 50*time.Millisecond, time.Hour }})
	conn := h.connect(t)
	if _, err := conn.Write([]byte(strings.Repeat("GET /healthz HTTP/1.1\r\nHost: 127.0.0.1@9998\r\n\r\n", 2) + "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1@")); err != nil {
		t.Fatal(err)
	}
	readToEnd(t, conn)
}

// A long call outlives the time allowed for sending its request.
func TestLongCallOverHTTP(t *testing.T) {
	h := newHost(t, setup{limits: func(l *limits) { l.headerTime, l.bodyTime = 20*time.Millisecond, 20*time.Millisecond }})
	plain := h.plugins["Plain"]
	time.AfterFunc(200*time.Millisecond, func() { close(plain.release) })
	if status, answer := h.post(t, "/jsonrpc", call("Plain.1.wait", "")); status != 200 {
		t.Errorf("got %d %s", status, answer)
	}
}

// A connection that has been idle for the longest time makes room for a new one; without
// an idle one the new one is closed.
func TestConnectionLimit(t *testing.T) {
	h := newHost(t, setup{limits: func(l *limits) { l.tcp.connections = peer.Limits{All: 2, Share: 2} }})
	first := h.connect(t)
	second := h.connect(t)
	third := h.connect(t)
	readToEnd(t, first)
	wait := call("Plain.1.wait", "")
	for _, conn := range []net.Conn{second, third} {
		if _, err := fmt.Fprintf(conn, "POST /jsonrpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", len(wait), wait); err != nil {
			t.Fatal(err)
		}
		<-h.plugins["Plain"].entered
	}
	readToEnd(t, h.connect(t))
	h.waitForLog(t, "user "+strconv.Itoa(os.Geteuid())+" has all 2 that one peer may have")
	close(h.plugins["Plain"].release)
	for _, conn := range []net.Conn{second, third} {
		if a := readAnswer(t, conn, bufio.NewReader(conn)); a.status != 200 {
			t.Errorf("got %d", a.status)
		}
	}
	c := h.dial(t, "/jsonrpc") // once they are idle
	c.must("Plain.1.echo", "")
}

func (h *host) connect(t *testing.T) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", h.server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// readToEnd returns when the host has closed the connection.
func readToEnd(t *testing.T, conn net.Conn) {
	t.Helper()
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 1024)
	for {
		if _, err := conn.Read(buffer); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("the connection was not closed")
			}
			return
		}
	}
}
