package controller

import (
	"encoding/json"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/plugins/controller/dialect"
	"dormouse/shell"
)

var timeForm = regexp.MustCompile(`"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`)

// The bytes of a record, with every time replaced by "T".
func TestStatusRecord(t *testing.T) {
	const (
		reload = `{"at":"T","event":"resume","from":"activation","to":"activation","reason":"Startup","control":"resumed"}`
		auto   = `"callsign":"Auto","locator":"/usr/lib/plugins/Autod","classname":"Fake","autostart":true,"resumed":true,` +
			`"configuration":{},"persistentpathpostfix":"Auto","volatilepathpostfix":"Auto","startuporder":50,"startmode":"Activated"`
	)
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc")
	c.must("Auto.1.register", `{"event":"x","id":"y"}`)
	c.must("Auto.1.echo", "")
	c.must("Controller.1.suspend", `{"callsign":"Auto"}`)
	c.must("Controller.1.hibernate", `{"callsign":"Auto"}`)
	for _, tt := range []struct{ callsign, want string }{
		{"Auto", `[{` + auto + `,"state":"hibernated","processedrequests":2,"processedobjects":0,"observers":1,"module":"Autod",` +
			`"version":{"hash":"","major":1,"minor":5,"patch":2},"pid":42,"memory":4096,"image":{"engine":"","bytes":4096,"created":"T"},` +
			`"reason":"Requested","since":"T","why":"it is hibernated, and calls are refused until it is activated (on-call = \"reject\")","history":[` +
			`{"at":"T","event":"activate","from":"deactivated","to":"activation","reason":"Startup"},` + reload + `,` +
			`{"at":"T","event":"activate","from":"activation","to":"activated","reason":"Startup","control":"resumed"},` +
			`{"at":"T","event":"suspend","from":"activated","to":"activated","reason":"Requested","control":"suspended"},` +
			`{"at":"T","event":"hibernate","from":"activated","to":"hibernating","reason":"Requested","control":"suspended"},` +
			`{"at":"T","event":"hibernate","from":"hibernating","to":"hibernated","reason":"Requested","control":"suspended"}]}]`},
		{"Bad", `[{"callsign":"Bad","locator":"/usr/lib/plugins/Badd","classname":"Badd","autostart":false,"resumed":false,` +
			`"configuration":{},"persistentpathpostfix":"Bad","volatilepathpostfix":"Bad","startuporder":50,"startmode":"Deactivated","state":"deactivated","processedrequests":0,"processedobjects":0,` +
			`"observers":0,"module":"Badd","version":{"hash":"","major":0,"minor":0,"patch":0},"pid":42,"memory":4096,"reason":"Startup","since":"T","why":"it does not run: it is deactivated"}]`},
	} {
		got := decode[json.RawMessage](t, c.do("Controller.1.status@"+tt.callsign, `{}`))
		plain := timeForm.ReplaceAllString(string(got), `"T"`)
		if diff := cmp.Diff(tt.want, plain); diff != "" {
			t.Errorf("status@%s (-want +got):\n%s", tt.callsign, diff)
		}
		if services := decode[json.RawMessage](t, c.do("Controller.1.services@"+tt.callsign, "")); !cmp.Equal(services, got) {
			t.Errorf("services differs: %s", services)
		}
	}

	c.do("Controller.1.activate", `{"callsign":"Bad"}`)
	bad := decode[[]dialect.R4Record](t, c.do("Controller.1.status@Bad", ""))[0]
	if bad.Error != "initialization failed: no such tuner" || bad.Reason != "InitializationFailed" || bad.State != "deactivated" {
		t.Errorf("got %+v", bad)
	}
}

// How much of a plugin's memory has come in is told until all has.
func TestStatusWhileLoading(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc")
	plain := h.plugins["Plain"]
	for _, want := range []shell.Progress{{Done: 1 << 20, Total: 3 << 20}, {}} {
		plain.mu.Lock()
		plain.loading = want
		plain.mu.Unlock()
		type part struct{ Loading *shell.Progress }
		status := decode[[]part](t, c.do("Controller.1.status@Plain", ""))[0]
		explained := decode[part](t, c.do("Controller.1.explain@Plain", ""))
		for _, got := range []part{status, explained} {
			if (got.Loading == nil) != (want.Total == 0) || got.Loading != nil && *got.Loading != want {
				t.Errorf("got %+v, want %+v", got.Loading, want)
			}
		}
	}
}

func TestStatusOfAll(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc")
	c.must("Controller.1.activate", `{"callsign":"P"}`)
	var states []string
	for _, r := range decode[[]dialect.R4Record](t, c.do("Controller.1.status", "")) {
		states = append(states, r.Callsign+" "+r.State)
		if r.History != nil {
			t.Errorf("%s has a history", r.Callsign)
		}
	}
	want := []string{
		"Auto resumed", "Bad deactivated", "Controller activated", "Inside activated", "NoEngine suspended", "NoLib deactivated",
		"P suspended", "Plain activated", "Stuck activated", "Unav unavailable", "org.test.Dotted activated",
	}
	slices.Sort(want)
	// "Inside" has state control and starts with the host.
	want[slices.Index(want, "Inside activated")] = "Inside resumed"
	if diff := cmp.Diff(want, states); diff != "" {
		t.Errorf("states (-want +got):\n%s", diff)
	}
}

// Thunder's clients don't know the states in between; these are in members of their own.
func TestStatusInTransition(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc")
	auto := h.plugins["Auto"]
	auto.holds = true
	c.must("Controller.1.suspend", `{"callsign":"Auto"}`)
	c.send(`{"method":"Controller.1.hibernate","params":{"callsign":"Auto"}}`)
	<-auto.entered
	got := decode[[]dialect.R4Record](t, c.do("Controller.1.status@Auto", ""))[0]
	want := &shell.Progress{Done: 1, Total: 3}
	if got.State != "suspended" || got.Transition != shell.Hibernating || !cmp.Equal(got.Progress, want) {
		t.Errorf("got %s, %s, %v", got.State, got.Transition, got.Progress)
	}
	close(auto.release)

	for _, tt := range []struct {
		status shell.Status
		want   string
	}{
		{shell.Status{State: shell.Waking, Control: "suspended"}, "hibernated"},
		{shell.Status{State: shell.Hibernating}, "activated"},
		{shell.Status{State: shell.Activated, Control: "exited"}, "suspended"},
		{shell.Status{State: shell.Activated, Control: "resumed"}, "resumed"},
		{shell.Status{State: shell.Deactivation, Control: "resumed"}, "deactivation"},
	} {
		if got := stateInThunderWords(tt.status); got != tt.want {
			t.Errorf("%+v shows as %q, want %q", tt.status, got, tt.want)
		}
	}
}

// A hibernation that takes too long has an error of its own.
func TestHibernateTimesOut(t *testing.T) {
	h := newHost(t, setup{})
	c := h.dial(t, "/jsonrpc")
	auto := h.plugins["Auto"]
	auto.holds = true
	c.must("Controller.1.suspend", `{"callsign":"Auto"}`)
	began := time.Now()
	answer := c.do("Controller.1.hibernate", `{"callsign":"Auto","timeout":20}`)
	if want := `{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":"Call timed out.","data":{"cause":"timed out: context deadline exceeded"}}}`; answer != want {
		t.Errorf("got %s", answer)
	}
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("it took %s", took)
	}
	c.must("Auto.1.echo", "")
}

// The status of an instance names the package that it comes from, that of a clone too.
func TestStatusNamesThePackage(t *testing.T) {
	h := newHost(t, setup{})
	packed := configs.DefaultPlugin()
	packed.Callsign, packed.StartMode = "Packed", configs.StartDeactivated
	if _, err := h.supervisor.Provide(t.Context(), "cam", []configs.Plugin{packed}); err != nil {
		t.Fatal(err)
	}
	if err := h.supervisor.Clone(t.Context(), "Packed", "Copy"); err != nil {
		t.Fatal(err)
	}
	c := h.dial(t, "/jsonrpc")
	for callsign, want := range map[string]string{"Packed": "cam", "Copy": "cam", "Plain": "", "Controller": ""} {
		answer := decode[[]struct{ Package *string }](t, c.do("Controller.1.status@"+callsign, ""))
		if got := answer[0].Package; want == "" && got != nil || want != "" && (got == nil || *got != want) {
			t.Errorf("%s is of %v, want %q", callsign, got, want)
		}
	}
}
