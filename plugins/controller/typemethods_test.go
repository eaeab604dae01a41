package controller

import (
	"encoding/json"
	"strings"
	"testing"

	"dormouse/plugins/access"
	"dormouse/shell"
)

// TestFindAndOpen finds instances by type, tags and range, opens one, and asks what is unmet.
func TestFindAndOpen(t *testing.T) {
	h := newGuardedHost(t, setup{fakes: func(p *fakePlugin) {
		switch p.config.Callsign {
		case "Plain":
			p.Info.Profile = shell.Profile{Tags: []string{"fast"}, Provides: []shell.Type{{Name: "adder", Version: "1.2.0", Methods: []shell.TypeMethod{{Name: "echo", Params: json.RawMessage(`{"required":["a"],"type":"object"}`)}}}}}
		case "Auto":
			p.Info.Profile = shell.Profile{Uses: []shell.Use{{Type: "adder", Range: ">=2"}}}
		}
	}})
	for _, test := range []struct{ method, params, want string }{
		{"Controller.1.find", `{"type":"adder"}`, `"callsign":"Plain","state":"activated","delivers":true,"type":{"name":"adder","version":"1.2.0"`},
		{"Controller.1.find", `{"type":"adder","tags":"fast !slow","range":"^1"}`, `"callsign":"Plain"`},
		{"Controller.1.find", `{"type":"adder","tags":"!fast"}`, `"result":[]`},
		{"Controller.1.find", `{"type":"adder","range":"a b"}`, `not a range of versions`},
		{"Controller.1.find", `{}`, `names neither a type nor tags`},
		{"Controller.1.open", `{"callsign":"Plain"}`, `"profile":{"tags":["fast"]`},
		{"Controller.1.open", `{"callsign":"Plain","type":"adder","range":">=2"}`, `ERROR_NOT_SUPPORTED`},
		{"Controller.1.open", `{"callsign":"Nobody"}`, `"error"`},
		{"Controller.1.unmet", ``, `"text":"Auto uses adder >=2, which no instance provides"`},
		{"Controller.1.unmet@Plain", ``, `"result":[]`},
		{"Controller.1.unmet@Nobody", ``, `"error"`},
		{"Plain.1.echo", `{"a":1}`, `"result":{"a":1}`},
		{"Plain.1.echo", `{"b":1}`, `/a is missing`},
	} {
		if got := string(h.ask(t, withRole(access.Call), test.method, test.params).body); !strings.Contains(got, test.want) {
			t.Errorf("%s %s: %s; want %s", test.method, test.params, got, test.want)
		}
	}
}
