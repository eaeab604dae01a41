package monitor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"dormouse/plugins/access"
	"dormouse/shell"
)

const zero = `{"min":0,"max":0,"average":0,"last":0}`

func TestMethods(t *testing.T) {
	const unmeasured = `{"resident":` + zero + `,"allocated":` + zero + `,"shared":` + zero + `,"process":` + zero + `,"operational":true,"count":0}`
	const net = `{"measurements":` + unmeasured + `,"observable":"Net","restart":{"limit":3,"window":60}}`
	const tuner = `{"measurements":` + unmeasured + `,"observable":"Tuner","restart":{}}`
	run(t, `{"observables": [
		{"callsign": "Net", "memory": 5, "restart": {"window": 60, "limit": 3}}, {"callsign": "Tuner", "operational": 5}
	]}`, nil, func(r *rig) {
		for _, c := range []struct{ method, index, params, want string }{
			{"status", "", "", `[` + net + `,` + tuner + `]`},
			{"status", "Net", "", `[` + net + `]`},
			{"status", "Other", "", "22 Other is not observed"},
			{"observables", "", "", `["Net","Tuner"]`},
			{"measurementdata", "Net", "", unmeasured},
			{"measurementdata", "", "", "30 callsign is missing"},
			{"measurementdata", "net", "", "22 net is not observed"},
			{"resetstats", "", `{"callsign":"Tuner"}`, tuner},
			{"resetstats", "", `{"callsign":"Other"}`, "22 Other is not observed"},
			{"resetstats", "", `{}`, "30 callsign is missing"},
			{"resetstats", "", "", "30 must be an object"},
			{"resetstatistics", "", `{"callsign":"Net"}`, "null"},
			{"resetstatistics", "", `{"callsign":7}`, "30 callsign: must be a text"},
			{"resetstatistics", "", `{"callsign":"Other"}`, "22 Other is not observed"},

			{"restartinglimits", "Net", "", `{"limit":3,"window":60}`},
			{"restartinglimits", "Tuner", "{}", `{}`},
			{"restartinglimits", "", "", "30 callsign is missing"},
			{"restartinglimits", "Other", "", "22 Other is not observed"},
			{"restartinglimits", "Tuner", `{"value":{"limit":1,"window":10}}`, "null"},
			{"restartinglimits", "Tuner", "", `{"limit":1,"window":10}`},
			{"restartinglimits", "Tuner", `{"limit":"2","window":20}`, "null"},
			{"restartinglimits", "Tuner", "null", `{"limit":2,"window":20}`},
			{"restartinglimits", "Tuner", `{"limit":2}`, "30 window is missing"},
			{"restartlimits", "", `{"callsign":"Net","restart":{"limit":0,"window":5}}`, "null"},
			{"restartinglimits", "Net", "", `{"limit":0,"window":5}`},
			{"restartlimits", "", `{"callsign":"Net","restart":{"limit":4,"window":5,"more":1},"more":1}`, "null"},
			{"restartinglimits", "Net", "", `{"limit":4,"window":5}`},
			{"restartlimits", "", `{"callsign":"Net","limit":2,"window":30}`, "null"}, // TDK
			{"restartinglimits", "Net", "", `{"limit":2,"window":30}`},
			{"restartlimits", "", `{"callsign":"Net","operational":{"limit":7},"memory":{"limit":8}}`, "null"}, // ThunderUI
			{"restartlimits", "", `{"callsign":"Net"}`, "null"},
			{"restartinglimits", "Net", "", `{"limit":2,"window":30}`},
			{"restartinglimits", "Net", `{"limit":3,"window":31,"more":1}`, "null"},
			{"restartinglimits", "Net", `{"value":{"limit":3,"window":32,"more":1},"more":1}`, "null"},
			{"restartinglimits", "Net", `{"value":{"limit":999,"window":32}}`, "30 value: limit: must be a whole number from 0 to 255, not 999"},
			{"restartinglimits", "Net", "", `{"limit":3,"window":32}`},
			{"restartlimits", "", `{"callsign":"Net","limit":2}`, "30 window is missing"},
			{"resetstatistics", "", `{"callsign":"Net","more":1}`, "null"},
			{"restartlimits", "", `{"restart":{"limit":0,"window":5}}`, "30 callsign is missing"},
			{"restartlimits", "", `{"callsign":"Net","restart":{"limit":999,"window":5}}`, "30 restart: limit: must be a whole number from 0 to 255, not 999"},
			{"restartlimits", "", `{"callsign":"Other","restart":{"limit":0,"window":5}}`, "22 Other is not observed"},
		} {
			if got := r.call(c.method, c.index, c.params); got != c.want {
				r.Errorf("%s@%s %s:\ngot  %s\nwant %s", c.method, c.index, c.params, got, c.want)
			}
		}
		r.expect()

		monitor := r.shell("Monitor")
		if _, err := monitor.Invoke(r.Context(), shell.Call{Method: "nothing"}); !errors.Is(err, shell.ErrUnknownMethod) {
			r.Errorf("got %v, want ErrUnknownMethod", err)
		}
		for method, want := range map[string]bool{"status": true, "observables": true, "nothing": false} {
			if got, err := monitor.Exists(r.Context(), method); got != want || err != nil {
				r.Errorf("%s: %t, %v", method, got, err)
			}
		}
	})
}

func TestNewLimitsHold(t *testing.T) {
	run(t, `{"observables": [{"callsign": "Net", "operational": 5}]}`, nil, func(r *rig) {
		r.call("restartlimits", "", `{"callsign":"Net","restart":{"limit":1,"window":60}}`)
		r.crash("Net")
		r.expect(restarted...)
		r.call("restartinglimits", "Net", `{"limit":2,"window":60}`)
		r.crash("Net")
		r.expect(restarted...)
		r.crash("Net")
		r.expect(givenUp("2")...)
	})
}

func TestReset(t *testing.T) {
	run(t, `{"observables": [{"callsign": "Net", "memory": 1}]}`, nil, func(r *rig) {
		for _, method := range []string{"resetstats", "resetstatistics"} {
			r.pass(2 * time.Second)
			answer := r.call(method, "", `{"callsign":"Net"}`)
			if method == "resetstats" && !strings.Contains(answer, `"count":2`) {
				r.Errorf("it returned %s", answer)
			}
			if got := r.statistics("Net"); got != (statistics{Operational: true}) {
				r.Errorf("%s left %+v", method, got)
			}
			r.pass(time.Second)
			if got := r.statistics("Net"); got.Count != 1 || got.Resident.Min == 0 {
				r.Errorf("after %s: %+v", method, got)
			}
			r.call(method, "", `{"callsign":"Net"}`)
		}
	})
}

// Seeing figures needs read, changing limits and figures operate; a call is about the
// observable that it names, where the method itself looks for the name.
func TestNeededAccess(t *testing.T) {
	for _, test := range []struct {
		call  shell.Call
		needs access.Role
		about string
	}{
		{shell.Call{Method: "status"}, access.Read, "Monitor"},
		{shell.Call{Method: "status", Index: "Net"}, access.Read, "Net"},
		{shell.Call{Method: "observables"}, access.Read, "Monitor"},
		{shell.Call{Method: "measurementdata", Index: "Net"}, access.Read, "Net"},
		{shell.Call{Method: "restartinglimits", Index: "Net"}, access.Read, "Net"},
		{shell.Call{Method: "restartinglimits", Index: "Net", Params: []byte(`{}`)}, access.Read, "Net"},
		{shell.Call{Method: "restartinglimits", Index: "Net", Params: []byte(`{"callsign":"Tuner","limit":1,"window":2}`)}, access.Operate, "Net"},
		{shell.Call{Method: "restartlimits", Params: []byte(`{"callsign":"Net","Callsign":"Tuner"}`)}, access.Operate, "Net"},
		{shell.Call{Method: "restartlimits", Index: "Tuner", Params: []byte(`{"callsign":"Net"}`)}, access.Operate, "Net"},
		{shell.Call{Method: "restartlimits", Params: []byte(`{`)}, access.Operate, "Monitor"},
		{shell.Call{Method: "resetstats", Params: []byte(`{"callsign":"Net"}`)}, access.Operate, "Net"},
		{shell.Call{Method: "resetstatistics", Params: []byte(`{"callsign":"Net"}`)}, access.Operate, "Net"},
		{shell.Call{Method: "nothing"}, access.Read, "Monitor"},
	} {
		needed, about := NeededAccess("Monitor", test.call)
		if needed != test.needs || about.Callsign != test.about || about.Method != test.call.Method {
			t.Errorf("%s@%s %s needs %s for %+v", test.call.Method, test.call.Index, test.call.Params, needed, about)
		}
	}
	for name, m := range methods {
		if m.access == access.None || m.observable == nil {
			t.Errorf("the method %s has no role, or does not say what it is about", name)
		}
	}
}
