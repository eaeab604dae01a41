package controller

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/plugins/controller/dialect"
)

// A connection speaks what it asks for, or else what its listener speaks.
func TestChoiceOfDialect(t *testing.T) {
	const r4, r5 = `"code":22,"message":"ERROR_UNKNOWN_KEY"`, `"code":-31022,"message":"ERROR_UNKNOWN_KEY"`
	for _, tt := range []struct {
		listener configs.Dialect
		query    string
		want     string
	}{
		{"", "", r4},
		{configs.DialectR4, "", r4},
		{configs.DialectR5, "", r5},
		{configs.DialectR5, "?dialect=r4", r4},
		{configs.DialectR4, "?dialect=r5", r5},
		{configs.DialectR4, "?token=x&dialect=thunder-r5", r5},
		{configs.DialectR5, "?dialect=thunder-r4", r4},
		{configs.DialectR5, "?dialect=", r5},
	} {
		t.Run(string(tt.listener)+tt.query, func(t *testing.T) {
			h := newHost(t, setup{host: configs.Host{Dialect: tt.listener}})
			want := `{"jsonrpc":"2.0","id":1,"error":{` + tt.want + `}}`
			if got := h.dial(t, "/jsonrpc"+tt.query).do("Controller.1.status@Nope", ""); got != want {
				t.Errorf("over a websocket got %s", got)
			}
			if _, got := h.post(t, "/jsonrpc"+tt.query, call("Controller.1.status@Nope", "")); got != want {
				t.Errorf("over HTTP got %s", got)
			}
		})
	}
}

func TestUnknownDialect(t *testing.T) {
	h := newHost(t, setup{})
	if status, answer := h.post(t, "/jsonrpc?dialect=r6", call("Plain.1.echo", "")); status != 400 ||
		answer != "there is no dialect \"r6\": it is \"thunder-r4\" or \"thunder-r5\"\n" {
		t.Errorf("got %d %s", status, answer)
	}
	if _, got, err := h.tryDial(t, "/jsonrpc?dialect=r6", nil); err == nil || got.status != 400 {
		t.Errorf("got %d, %v", got.status, err)
	}
}

// Two listeners of one front speak as they are told.
func TestListenersDiffer(t *testing.T) {
	h := newHost(t, setup{host: configs.Host{Dialect: configs.DialectR4}})
	other := h.alsoServe(t, configs.DialectR5)
	for address, want := range map[string]string{h.server.URL: "-32603", other: "-31043"} {
		h.server.URL = address
		if _, answer := h.post(t, "/jsonrpc", call("Nope.1.x", "")); !strings.Contains(answer, want) {
			t.Errorf("got %s, want %s", answer, want)
		}
	}
}

func TestPostR5(t *testing.T) {
	h := newHost(t, setup{host: configs.Host{Dialect: configs.DialectR5}})
	const notRequest = `"error":{"code":-31050,"message":"ERROR_PARSE_FAILURE","data":{"cause":"the message is not a JSON-RPC request: `
	for _, tt := range []struct {
		name, body string
		status     int
		want       string
	}{
		{"good", call("Plain.1.echo", `1`), 200, `{"jsonrpc":"2.0","id":1,"result":1}`},
		{"error", call("Plain.1.nope", ""), 200, `{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"Unknown method."}}`},
		{"notification", `{"method":"Plain.1.echo"}`, 204, ``},
		{"failing notification", `{"method":"Plain.1.nope"}`, 200, `{"jsonrpc":"2.0","error":{"code":-32601,"message":"Unknown method."}}`},
		{"malformed", `{`, 400, `{"jsonrpc":"2.0","id":null,"error":{"code":-31050,"message":"ERROR_PARSE_FAILURE","data":{"cause":"the message is not JSON: unexpected end of JSON input"}}}`},
		{"not UTF-8", "{\"method\":\"\xff\"}", 400, `{"jsonrpc":"2.0","id":null,"error":{"code":-31050,"message":"ERROR_PARSE_FAILURE","data":{"cause":"the message is not JSON: it is not UTF-8"}}}`},
		{"bad id", `{"id":[1.5],"method":"x"}`, 400, `{"jsonrpc":"2.0","id":null,` + notRequest + `its id is neither a number nor a string"}}}`},
		{"number as id, as it came", `{"id":-1.0e+3,"method":"Plain.1.echo"}`, 200, `{"jsonrpc":"2.0","id":-1.0e+3,"result":null}`},
		{"no method", `{"id":7}`, 200, `{"jsonrpc":"2.0","id":7,` + notRequest + `it has no method"}}}`},
		{"empty", ``, 405, "JSON-RPC only supported via POST request with a body\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, got := h.post(t, "/jsonrpc", tt.body)
			if diff := cmp.Diff(fmt.Sprint(tt.status, " ", tt.want), fmt.Sprint(status, " ", got)); diff != "" {
				t.Errorf("answer (-want +got):\n%s", diff)
			}
		})
	}
}

// The bytes of a record in R5, with every time replaced by "T".
func TestRecordR5(t *testing.T) {
	h := newHost(t, setup{
		host:    configs.Host{Dialect: configs.DialectR5, Communicator: "/run/dormouse/communicator"},
		options: Options{RestartsOf: func(string) int { return 3 }},
	})
	c := h.dial(t, "/jsonrpc")
	c.must("Controller.1.deactivate", `{"callsign":"org.test.Dotted"}`)
	const want = `{"callsign":"org.test.Dotted","locator":"/usr/lib/plugins/org.test.Dottedd","classname":"Fake","module":"org.test.Dottedd",` +
		`"state":"Deactivated","startmode":"Activated","resumed":true,"version":{"hash":"","major":1,"minor":5,"patch":2},` +
		`"communicator":"/run/dormouse/communicator","persistentpathpostfix":"org.test.Dotted","volatilepathpostfix":"org.test.Dotted",` +
		`"precondition":["Network","Time"],"termination":["!Network"],"control":["Graphics"],"configuration":{"tuner":1},` +
		`"observers":0,"processedrequests":0,"processedobjects":0,"pid":42,"memory":4096,"restarts":3,"reason":"Requested","since":"T","why":"it does not run: it is deactivated"`
	got := string(decode[json.RawMessage](t, c.do("Controller.1.services@org.test.Dotted", "")))
	got, _, _ = strings.Cut(timeForm.ReplaceAllString(got, `"T"`), `,"history"`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	var states []string
	for _, r := range decode[[]dialect.R5Record](t, c.do("Controller.1.status", "")) {
		states = append(states, r.Callsign+" "+r.State)
	}
	if diff := cmp.Diff([]string{
		"Auto Resumed", "Bad Deactivated", "Controller Activated", "Inside Resumed", "NoEngine Suspended", "NoLib Deactivated",
		"P Deactivated", "Plain Activated", "Stuck Activated", "Unav Unavailable", "org.test.Dotted Deactivated",
	}, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

// A client that registers in R5 is sent the state of the active instances before
// the answer. Other clients get no event.
func TestSnapshot(t *testing.T) {
	h := newHost(t, setup{})
	of := func(callsign, reason string) string {
		return `{"jsonrpc":"2.0","method":"c.statechange","params":{"callsign":"` + callsign + `","state":"Activated","reason":"` + reason + `"}}`
	}
	old, c := h.dial(t, "/jsonrpc?dialect=r4"), h.dial(t, "/jsonrpc?dialect=r5")
	old.send(call("Controller.1.register", `{"event":"statechange","id":"c"}`))
	old.expect(`{"jsonrpc":"2.0","id":1,"result":0}`)
	for _, callsign := range []string{"P", "Auto"} {
		old.send(call("Controller.1.activate", `{"callsign":"`+callsign+`"}`))
		if callsign == "P" {
			old.expect(of("P", "Requested"))
		}
		old.expect(done)
	}
	old.send(call("Controller.1.suspend", `{"callsign":"Auto"}`))
	old.expect(done)
	old.send(call("Controller.1.hibernate", `{"callsign":"Auto"}`))
	old.expect(`{"jsonrpc":"2.0","method":"c.statechange","params":{"callsign":"Auto","state":"Hibernated","reason":"Requested"}}`, done)

	c.send(call("Controller.1.register", `{"event":"statechange","id":"c"}`))
	c.expect(of("Controller", "Startup"), of("Inside", "Startup"), of("NoEngine", "Startup"), of("P", "Requested"),
		of("Plain", "Startup"), of("Stuck", "Startup"), of("org.test.Dotted", "Startup"), done)
	c.send(call("Controller.1.register@P", `{"event":"statechange","id":"c"}`))
	c.expect(`{"jsonrpc":"2.0","method":"c.statechange@P","params":{"state":"Activated","reason":"Requested"}}`, done)
	c.send(call("Controller.1.register@Auto", `{"event":"statechange","id":"c"}`))
	c.expect(done)
	c.send(call("Controller.1.register", `{"event":"statecontrolstatechange","id":"c"}`))
	c.expect(done)
	c.send(call("Controller.1.register@P", `{"event":"statecontrolstatechange","id":"c"}`))
	c.expect(`{"jsonrpc":"2.0","method":"c.statecontrolstatechange@P","params":{"state":"Suspended"}}`, done)
	c.send(call("P.1.register", `{"event":"statechange","id":"own"}`)) // the plugin's own, of which there is none
	c.expect(done)
}

// Each subscriber of everything gets it in the dialect of its socket.
func TestAllInTheDialectOfTheSocket(t *testing.T) {
	h := newHost(t, setup{})
	r4, r5 := h.dial(t, "/jsonrpc?dialect=r4"), h.dial(t, "/jsonrpc?dialect=r5")
	for _, c := range []*client{r4, r5} {
		c.must("Controller.1.register", `{"event":"all","id":"a"}`)
	}
	h.dial(t, "/jsonrpc").must("Plain.1.event", `{"n":1}`)
	r4.expect(`{"jsonrpc":"2.0","method":"a.all","params":{"callsign":"Plain","data":{"n":1},"event":"changed"}}`)
	r5.expect(`{"jsonrpc":"2.0","method":"a.all","params":{"event":"changed","callsign":"Plain","params":{"n":1}}}`)
	h.dial(t, "/jsonrpc").must("Controller.1.deactivate", `{"callsign":"Plain"}`)
	r4.expect(`{"jsonrpc":"2.0","method":"a.all","params":{"callsign":"Plain","data":{"state":"deactivated","reason":"Requested"},"event":"statechange"}}`)
	r5.expect(`{"jsonrpc":"2.0","method":"a.all","params":{"event":"statechange","callsign":"Plain","params":{"state":"deactivated","reason":"Requested"}}}`)
}
