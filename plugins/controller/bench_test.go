package controller

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"dormouse/configs"
	"dormouse/plugins/access"
)

// A call over one websocket to a plugin that answers at once: what the front
// adds to the plugin's own time.
func BenchmarkWebsocketCall(b *testing.B) {
	for _, size := range []int{10, 1 << 10, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			h := newHost(b, setup{})
			c := h.dial(b, "/jsonrpc")
			request := []byte(call("Plain.1.echo", `"`+strings.Repeat("x", size)+`"`))
			ctx := b.Context()
			b.ReportAllocs()
			for b.Loop() {
				if err := c.ws.Write(ctx, websocket.MessageText, request); err != nil {
					b.Fatal(err)
				}
				if _, _, err := c.ws.Read(ctx); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// From connecting to the first answer, with and without finding out which user connects.
func BenchmarkFirstAnswer(b *testing.B) {
	const request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
	h := newHost(b, setup{})
	unidentified := httptest.NewUnstartedServer(nil)
	unidentified.Config = h.NewServer(configs.Listener{})
	unidentified.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connectionKey{}, h.connections.add(c, access.HostItself()))
	}
	unidentified.Start()
	defer unidentified.Close()
	for name, server := range map[string]*httptest.Server{"unidentified": unidentified, "identified": h.server} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				conn, err := net.Dial("tcp", server.Listener.Addr().String())
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.WriteString(conn, request); err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, conn); err != nil {
					b.Fatal(err)
				}
				_ = conn.Close()
			}
		})
	}
}

// Without the network: parsing, dispatch, and rendering.
func BenchmarkAnswer(b *testing.B) {
	h := newHost(b, setup{})
	request := []byte(call("Plain.1.echo", `{"by":1}`))
	b.ReportAllocs()
	for b.Loop() {
		if r := h.answerMessage(b.Context(), caller{client: access.HostItself(), dialect: h.dialect}, request); r.outcome != succeeded {
			b.Fatal(string(r.body))
		}
	}
}
