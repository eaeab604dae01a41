package controller

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/plugins/controller/dialect"
)

// The roster as a client changes it, on one host, step by step.
func TestInstanceMethods(t *testing.T) {
	for _, dialect := range []string{"r4", "r5"} {
		t.Run(dialect, func(t *testing.T) {
			h := newHost(t, setup{})
			c := h.dial(t, "/jsonrpc?dialect="+dialect)
			events := h.dial(t, "/jsonrpc?dialect=r4")
			events.must("Controller.1.register", `{"event":"statechange","id":"c"}`)
			for _, tt := range []struct{ name, send, want string }{
				{"clone", call("Controller.1.clone", `{"callsign":"P","newcallsign":"P2"}`), `{"jsonrpc":"2.0","id":1,"result":"P2"}`},
				{"again", call("Controller.1.clone", `{"callsign":"P","newcallsign":"p2"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":29,"message":"ERROR_DUPLICATE_KEY","data":{"cause":"cannot clone P: the callsign is taken: \"P2\""}}}`},
				{"nobody", call("Controller.1.clone", `{"callsign":"Nope","newcallsign":"X"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":22,"message":"ERROR_UNKNOWN_KEY","data":{"cause":"cannot clone: there is no such callsign: \"Nope\""}}}`},
				{"a part of the host", call("Controller.1.clone", `{"callsign":"Inside","newcallsign":"X"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"ERROR_GENERAL","data":{"cause":"cannot clone Inside: it cannot be cloned: it is a part of the host"}}}`},
				{"configure", call("Controller.1.configuration@P2", `{"volume":3}`), done},
				{"read back", call("Controller.1.configuration@P2", ""), `{"jsonrpc":"2.0","id":1,"result":{"volume":3}}`},
				{"the original is as it was", call("Controller.1.configuration@P", ""), done},
				{"persist", call("Controller.1.persist", `{"callsign":"P2"}`), done},
				{"persist nobody", call("Controller.1.persist", `{"callsign":"Nope"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"ERROR_GENERAL","data":{"cause":"cannot persist: there is no such callsign: \"Nope\""}}}`},
				{"activate", call("Controller.1.activate", `{"callsign":"P2"}`), done},
				{"configure while active", call("Controller.1.configuration@P2", `{}`), `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"ERROR_GENERAL","data":{"cause":"cannot configure: P2 is active, deactivate it first"}}}`},
				{"call", call("P2.1.echo", `1`), `{"jsonrpc":"2.0","id":1,"result":1}`},
				{"persist all, as of old", call("Controller.1.storeconfig", ""), done},
				{"deactivate", call("Controller.1.deactivate", `{"callsign":"P2"}`), done},
				{"restore the Controller alone", call("Controller.1.restore", `{"callsign":""}`), done},
				{"which is not P2", call("Controller.1.configuration@P2", ""), `{"jsonrpc":"2.0","id":1,"result":{"volume":3}}`},
				{"restore", call("Controller.1.restore", `{"callsign":"P2"}`), done},
				{"as it was cloned", call("Controller.1.configuration@P2", ""), done},
				{"activate again", call("Controller.1.activate", `{"callsign":"P2"}`), done},
				{"destroy", call("Controller.1.destroy", `{"callsign":"P2"}`), done},
				{"it is gone", call("Controller.1.status@P2", ""), `{"jsonrpc":"2.0","id":1,"error":{"code":22,"message":"ERROR_UNKNOWN_KEY"}}`},
				{"destroy what is no clone", call("Controller.1.destroy", `{"callsign":"P"}`), done},
				{"destroy nobody", call("Controller.1.destroy", `{"callsign":"Nope"}`), `{"jsonrpc":"2.0","id":1,"error":{"code":22,"message":"ERROR_UNKNOWN_KEY","data":{"cause":"cannot destroy: there is no such callsign: \"Nope\""}}}`},
			} {
				if dialect == "r5" {
					tt.want = sameError.Replace(tt.want)
				}
				c.send(tt.send)
				if diff := cmp.Diff(tt.want, c.receive()); diff != "" {
					t.Errorf("%s (-want +got):\n%s", tt.name, diff)
				}
			}
			if subsystems := decode[[]json.RawMessage](t, c.do("Controller.1.subsystems", "")); len(subsystems) != 15 || string(subsystems[2]) != `{"subsystem":"Network","active":true}` {
				t.Errorf("subsystems: %s", subsystems)
			}
			events.expect(
				`{"jsonrpc":"2.0","method":"c.statechange","params":{"callsign":"P2","state":"Activated","reason":"Requested"}}`,
				`{"jsonrpc":"2.0","method":"c.statechange","params":{"callsign":"P2","state":"Deactivated","reason":"Requested"}}`,
				`{"jsonrpc":"2.0","method":"c.statechange","params":{"callsign":"P2","state":"Activated","reason":"Requested"}}`,
				`{"jsonrpc":"2.0","method":"c.statechange","params":{"callsign":"P2","state":"Destroyed","reason":"Requested"}}`)
		})
	}
}

// An instance whose conditions come and go, as a client sees it.
func TestConditions(t *testing.T) {
	h := newHost(t, setup{plugins: func(c *configs.Plugin) {
		switch c.Callsign {
		case "P":
			c.Preconditions, c.Terminations = []string{"Bluetooth"}, []string{"!Bluetooth"}
		case "Plain":
			c.Controls = []string{"Bluetooth"}
		}
	}})
	of := func(state, reason string) string {
		return `{"jsonrpc":"2.0","method":"c.statechange","params":{"callsign":"P","state":"` + state + `","reason":"` + reason + `"}}`
	}
	set := func(active bool) {
		t.Helper()
		if err := h.supervisor.SetSubsystem("Plain", "Bluetooth", active); err != nil {
			t.Fatal(err)
		}
	}
	state := func() string {
		return decode[dialect.R5Record](t, h.dial(t, "/jsonrpc?dialect=r5").do("Controller.1.services@P", "")).State
	}
	c, events := h.dial(t, "/jsonrpc"), h.dial(t, "/jsonrpc")
	events.must("Controller.1.register", `{"event":"statechange","id":"c"}`)
	events.must("Controller.1.register", `{"event":"subsystemchange","id":"c"}`)
	for range 2 {
		if answer := c.do("Controller.1.activate", `{"callsign":"P"}`); !strings.Contains(answer, `"code":31,"message":"ERROR_PENDING_CONDITIONS"`) {
			t.Errorf("got %s", answer)
		}
	}
	if state() != "Precondition" {
		t.Errorf("it is %s", state())
	}
	set(true)
	events.expect(`{"jsonrpc":"2.0","method":"c.subsystemchange","params":[{"subsystem":"Bluetooth","active":true}]}`, of("Activated", "Requested"))
	set(false)
	events.expect(`{"jsonrpc":"2.0","method":"c.subsystemchange","params":[{"subsystem":"Bluetooth","active":false}]}`, of("Deactivated", "Conditions"))
	if state() != "Precondition" {
		t.Errorf("it is %s", state())
	}
	set(true)
	events.expect(`{"jsonrpc":"2.0","method":"c.subsystemchange","params":[{"subsystem":"Bluetooth","active":true}]}`, of("Activated", "Conditions"))
	set(false)
	events.expect(`{"jsonrpc":"2.0","method":"c.subsystemchange","params":[{"subsystem":"Bluetooth","active":false}]}`, of("Deactivated", "Conditions"))
	events.send(call("Controller.1.deactivate", `{"callsign":"P"}`))
	events.expect(done) // that it waits no more is no news
	if state() != "Deactivated" {
		t.Errorf("it is %s", state())
	}
}
