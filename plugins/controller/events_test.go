package controller

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/shell"
	"dormouse/statecontrol"
	"dormouse/supervisor"
)

const done = `{"jsonrpc":"2.0","id":1,"result":null}`

// Events of a call come before its answer, in the order in which they happened.
func TestEvents(t *testing.T) {
	stateChange := func(id, params string) string {
		return `{"jsonrpc":"2.0","method":"` + id + `.statechange","params":` + params + `}`
	}
	of := func(callsign, state, reason string) string {
		return stateChange("c", `{"callsign":"`+callsign+`","state":"`+state+`","reason":"`+reason+`"}`)
	}
	controlOf := func(callsign, state string) string {
		return `{"jsonrpc":"2.0","method":"c.statecontrolstatechange","params":{"callsign":"` + callsign + `","state":"` + state + `"}}`
	}
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc")
	c.must("Controller.1.register", `{"event":"statechange","id":"c"}`)
	c.must("Controller.1.register", `{"event":"statecontrolstatechange","id":"c"}`)

	for _, tt := range []struct {
		method, callsign string
		want             []string
	}{
		{"activate", "P", []string{of("P", "Activated", "Requested"), controlOf("P", "Suspended"), done}},
		{"activate", "P", []string{done}},
		{"restart", "P", []string{of("P", "Deactivated", "Requested"), of("P", "Activated", "Requested"), controlOf("P", "Suspended"), done}},
		{"resume", "P", []string{controlOf("P", "Resumed"), done}},
		{"suspend", "P", []string{controlOf("P", "Suspended"), done}},
		{"hibernate", "P", []string{of("P", "Hibernated", "Requested"), done}},
		{"activate", "P", []string{of("P", "Activated", "Requested"), done}},
		{"hibernate", "P", []string{of("P", "Hibernated", "Requested"), done}},
		{"deactivate", "P", []string{of("P", "Activated", "Requested"), of("P", "Deactivated", "Requested"), done}},
		{"deactivate", "P", []string{done}},
		{"unavailable", "P", []string{of("P", "Unavailable", "Requested"), done}},
		{"activate", "Bad", []string{
			of("Bad", "Deactivated", "InitializationFailed"),
			`{"jsonrpc":"2.0","id":1,"error":{"code":6,"message":"ERROR_OPENING_FAILED","data":{"cause":"initialization failed: no such tuner"}}}`,
		}},
		{"hibernate", "NoEngine", []string{`{"jsonrpc":"2.0","id":1,"error":{"code":44,"message":"ERROR_NOT_SUPPORTED","data":{"cause":"not supported on this host: install criu"}}}`}},
		// Without state control, and not to be started with the host.
		{"suspend", "Unav", []string{`{"jsonrpc":"2.0","id":1,"error":{"code":2,"message":"ERROR_UNAVAILABLE","data":{"cause":"cannot suspend: the instance has no state control now"}}}`}},
	} {
		c.send(call("Controller.1."+tt.method, `{"callsign":"`+tt.callsign+`"}`))
		c.expect(tt.want...)
	}

	h.plugins["Plain"].Sink.Exited(errors.New("killed by signal 9"))
	c.expect(of("Plain", "Deactivated", "Failure"))
	h.plugins["Auto"].Sink.ControlChanged(statecontrol.Suspended)
	c.expect(controlOf("Auto", "Suspended"))
}

func TestIndexedEvents(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc")
	c.must("Controller.1.register@P", `{"event":"statechange","id":"c"}`)
	c.must("Controller.1.register@P", `{"event":"statecontrolstatechange","id":"c"}`)
	c.must("Controller.1.deactivate", `{"callsign":"Auto"}`)
	c.send(call("Controller.1.activate", `{"callsign":"P"}`))
	c.expect(
		`{"jsonrpc":"2.0","method":"c.statechange@P","params":{"state":"Activated","reason":"Requested"}}`,
		`{"jsonrpc":"2.0","method":"c.statecontrolstatechange@P","params":{"state":"Suspended"}}`,
		done,
	)
}

func TestPluginEvents(t *testing.T) {
	const changed = `{"jsonrpc":"2.0","method":"c.changed","params":{"n": 1}}`
	h := newHost(t, setup{})
	c, other := h.dial(t, "/jsonrpc/Plain"), h.dial(t, "/jsonrpc")
	c.must("register", `{"event":"changed","id":"c"}`)
	other.must("Plain.1.register", `{"event":"changed","id":"c"}`)
	other.must("Plain.1.register", `{"event":"Changed","id":"never"}`)
	other.must("Plain.1.register@4", `{"event":"changed","id":"i"}`)
	other.must("Controller.1.register", `{"event":"all","id":"a"}`)

	c.send(call("event", `{"n": 1}`))
	c.expect(changed, done)
	other.expect(changed,
		`{"jsonrpc":"2.0","method":"i.changed@4","params":{"n": 1}}`,
		`{"jsonrpc":"2.0","method":"a.all","params":{"callsign":"Plain","data":{"n":1},"event":"changed"}}`)

	c.send(call("indexedevent@4", ""))
	c.expect(done)
	other.expect(`{"jsonrpc":"2.0","method":"i.changed@4"}`,
		`{"jsonrpc":"2.0","method":"a.all","params":{"callsign":"Plain","event":"changed"}}`)

	other.send(call("Controller.1.activate", `{"callsign":"P"}`))
	other.expect(`{"jsonrpc":"2.0","method":"a.all","params":{"callsign":"P","data":{"state":"activated","reason":"Requested"},"event":"statechange"}}`, done)

	// Parameters that are not JSON would break the stream.
	h.Notification("Plain", shell.Notification{Event: "changed", Params: []byte(`{`)})
	h.waitForLog(t, "dropped an event whose parameters are not JSON")

	other.must("Plain.1.unregister", `{"event":"changed","id":"c"}`)
	c.send(call("event", `{"n": 1}`))
	c.expect(changed, done)
	other.expect(`{"jsonrpc":"2.0","method":"i.changed@4","params":{"n": 1}}`,
		`{"jsonrpc":"2.0","method":"a.all","params":{"callsign":"Plain","data":{"n":1},"event":"changed"}}`)
}

func TestSubscriptionsEndWithTheSocket(t *testing.T) {
	h := newHost(t, setup{limits: func(l *limits) { l.subscriptions = 2 }})
	c := h.dial(t, "/jsonrpc")
	c.must("Plain.1.register", `{"event":"a","id":"c"}`)
	c.must("Plain.1.register", `{"event":"b","id":"c"}`)
	refused := `{"jsonrpc":"2.0","id":1,"error":{"code":22,"message":"Registration already done!!!.","data":{"cause":"the websocket has 2 subscriptions already"}}}`
	if diff := cmp.Diff(refused, c.do("Plain.1.register", `{"event":"c","id":"c"}`)); diff != "" {
		t.Errorf("third subscription (-want +got):\n%s", diff)
	}
	if n := h.events.subscriptionCount("Plain"); n != 2 {
		t.Errorf("%d observers, want 2", n)
	}
	if err := c.ws.CloseNow(); err != nil {
		t.Fatal(err)
	}
	h.waitForSockets(t, 0)
	if n := h.events.subscriptionCount("Plain"); n != 0 {
		t.Errorf("%d observers are left", n)
	}
}

func TestRegisterNeedsAWebsocket(t *testing.T) {
	h := newHost(t, setup{})
	status, answer := h.post(t, "/jsonrpc", call("Controller.1.register", `{"event":"all","id":"c"}`))
	if status != 202 || !strings.Contains(answer, `"code":44,"message":"ERROR_NOT_SUPPORTED","data":{"cause":"cannot register over plain HTTP`) {
		t.Errorf("got %d %s", status, answer)
	}
}

// Only what changed is told; with an index, only of that subsystem.
func TestSubsystemChange(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc")
	c.must("Controller.1.register", `{"event":"subsystemchange","id":"c"}`)
	c.must("Controller.1.register@Time", `{"event":"subsystemchange","id":"c"}`)
	h.Subsystems([]supervisor.Subsystem{{Name: "Network", Active: true}, {Name: "Internet"}})
	c.expect(`{"jsonrpc":"2.0","method":"c.subsystemchange","params":[{"subsystem":"Network","active":true},{"subsystem":"Internet","active":false}]}`)
	h.Subsystems([]supervisor.Subsystem{{Name: "Time", Active: true}, {Name: "Network"}})
	c.expect(
		`{"jsonrpc":"2.0","method":"c.subsystemchange","params":[{"subsystem":"Time","active":true},{"subsystem":"Network","active":false}]}`,
		`{"jsonrpc":"2.0","method":"c.subsystemchange@Time","params":[{"subsystem":"Time","active":true}]}`)
}

// The event of a plugin's state control goes to clients that registered with the
// plugin's callsign.
func TestStateControlEvents(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc/Auto")
	c.must("register", `{"event":"statecontrol::statechanged","id":"c"}`)
	c.send(call("statecontrol::request", `{"command":"Suspend"}`))
	c.expect(`{"jsonrpc":"2.0","method":"c.statecontrol::statechanged","params":{"state":"Suspended"}}`, done)
	h.dial(t, "/jsonrpc").must("Controller.1.resume", `{"callsign":"Auto"}`)
	c.expect(`{"jsonrpc":"2.0","method":"c.statecontrol::statechanged","params":{"state":"Resumed"}}`)
}

// In R4 a plugin with state control has an event statechange as well, unless it sends one
// itself.
func TestStateEventOfR4(t *testing.T) {
	h := newHost(t, setup{})
	old, recent := h.dial(t, "/jsonrpc/Auto?dialect=r4"), h.dial(t, "/jsonrpc/Auto?dialect=r5")
	for _, c := range []*client{old, recent} {
		c.must("register", `{"event":"statechange","id":"c"}`)
		c.must("register@x", `{"event":"statechange","id":"c"}`)
	}
	old.send(call("state", `"suspended"`))
	old.expect(`{"jsonrpc":"2.0","method":"c.statechange","params":{"suspended":true}}`, done)
	old.send(call("state", `"suspended"`))
	old.expect(done)
	recent.send(call("statecontrol::request", `{"command":"Resume"}`))
	recent.expect(done)
	old.expect(`{"jsonrpc":"2.0","method":"c.statechange","params":{"suspended":false}}`)

	h.Notification("Auto", shell.Notification{Event: "statechange", Params: json.RawMessage(`{"own":1}`)})
	for _, c := range []*client{old, recent} {
		c.expect(`{"jsonrpc":"2.0","method":"c.statechange","params":{"own":1}}`, `{"jsonrpc":"2.0","method":"c.statechange@x","params":{"own":1}}`)
	}
	old.send(call("state", `"suspended"`))
	old.expect(done)
}

// Which transitions are news, and as what.
func TestAnnounced(t *testing.T) {
	for _, tt := range []struct {
		from, to, want shell.State
	}{
		{shell.Deactivated, shell.Activation, ""},
		{shell.Activation, shell.Activated, shell.Activated},
		{shell.Activation, shell.Deactivated, shell.Deactivated},
		{shell.Deactivation, shell.Deactivated, shell.Deactivated},
		{shell.Hibernating, shell.Hibernated, shell.Hibernated},
		{shell.Hibernating, shell.Activated, ""},
		{shell.Waking, shell.Activated, shell.Activated},
		{shell.Deactivated, shell.Unavailable, shell.Unavailable},
		{shell.Deactivated, shell.Precondition, ""},
		{shell.Activation, shell.Precondition, ""},
		{shell.Precondition, shell.Activation, ""},
		{shell.Precondition, shell.Deactivated, ""},
		{shell.Deactivation, shell.Precondition, shell.Deactivated},
		{shell.Deactivated, shell.Destroyed, shell.Destroyed},
	} {
		got, news := announcedState(shell.Transition{From: tt.from, To: tt.to})
		if news != (tt.want != "") || news && got != tt.want {
			t.Errorf("%s to %s is told as %q, %v", tt.from, tt.to, got, news)
		}
	}
}

// An instance that is gone is in no snapshot.
func TestSnapshotsForget(t *testing.T) {
	var s stateSnapshots
	s.recordOrForget(shell.Transition{Callsign: "X", From: shell.Activation, To: shell.Activated, Reason: shell.Requested})
	if news := s.eventParamsForNewSubscriber(stateChange, ""); len(news) != 1 {
		t.Errorf("got %s", news)
	}
	s.recordOrForget(shell.Transition{Callsign: "X", From: shell.Deactivated, To: shell.Destroyed})
	if news := s.eventParamsForNewSubscriber(stateChange, ""); news != nil || len(s.byCallsign) != 0 {
		t.Errorf("got %s", news)
	}
}
