package controller

import (
	"strings"
	"testing"

	"github.com/coder/websocket"
	"github.com/google/go-cmp/cmp"
)

// What Thunder's web page sends from its start until an operator has activated
// and deactivated a plugin, with the JavaScript library that it uses.
func TestWebPageOfThunder(t *testing.T) {
	h := newHost(t, setup{})
	c, upgraded, err := h.tryDial(t, "/jsonrpc", &websocket.DialOptions{Subprotocols: []string{"notification"}})
	if err != nil || upgraded.header.Get("Sec-WebSocket-Protocol") != "notification" {
		t.Fatalf("got %+v, %v", upgraded, err)
	}
	type tab struct{ Callsign, ClassName, State string }
	tabs := func() map[string]tab {
		byClass := make(map[string]tab)
		for _, one := range decode[[]tab](t, c.do("Controller.1.status", "")) {
			byClass[one.Callsign] = one
		}
		return byClass
	}
	first := tabs()
	want := map[string]tab{"Controller": {"Controller", "Controller", "activated"}, "P": {"P", "Pd", "deactivated"}}
	got := map[string]tab{"Controller": first["Controller"], "P": first["P"]}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("tabs (-want +got):\n%s", diff)
	}
	c.must("Controller.1.register", `{"event":"statechange","id":"client.Controller.events"}`)
	c.must("Controller.1.register", `{"event":"all","id":"client.Controller.events"}`)

	c.send(call("Controller.1.activate", `{"callsign":"P"}`))
	var heard []string
	for answered := false; !answered; answered = strings.Contains(heard[len(heard)-1], `"id":1`) {
		heard = append(heard, c.receive())
	}
	for _, part := range []string{
		`"method":"client.Controller.events.statechange","params":{"callsign":"P","state":"Activated","reason":"Requested"}`,
		`"method":"client.Controller.events.all"`,
		`"id":1,"result":null`,
	} {
		if !strings.Contains(strings.Join(heard, "\n"), part) {
			t.Errorf("%s is missing from %q", part, heard)
		}
	}
	// Were there an answer, the page would take P for another host and reload.
	for _, callsign := range []string{"P", "Plain", "org.test.Dotted"} {
		if answer := c.do(callsign+"/Controller.1.status", `{}`); !strings.Contains(answer, `"error":{"code":`) {
			t.Errorf("%s: got %s", callsign, answer)
		}
	}
	if now := tabs()["P"].State; now != "suspended" {
		t.Errorf("P is %s", now)
	}
	c.must("Controller.1.unregister", `{"event":"all","id":"client.Controller.events"}`)
	c.must("Controller.1.unregister", `{"event":"statechange","id":"client.Controller.events"}`)
	c.must("Controller.1.deactivate", `{"callsign":"P"}`) // nothing comes before the answer
}
