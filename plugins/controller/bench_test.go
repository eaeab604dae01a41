package controller

import (
	"fmt"
	"strings"
	"testing"

	"github.com/coder/websocket"

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
