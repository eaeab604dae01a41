package monitor

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// table is JSON as a configuration holds it.
func table(t *testing.T, text string) (m map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func TestSettings(t *testing.T) {
	for name, c := range map[string]struct {
		text string
		want []settings
	}{
		"nothing": {`{}`, nil},
		"none":    {`{"observables": []}`, nil},
		"all": {
			`{"observables": [{"callsign": "Net", "memory": 5, "memorylimit": 20480, "operational": 1, "restart": {"window": 60, "limit": 3}}]}`,
			[]settings{{
				callsign: "Net", memory: 5 * time.Second, operational: time.Second, memoryLimit: 20 << 20,
				restart: &limits{Limit: 3, Window: 60},
			}},
		},
		"lenient": {
			`{"observables": [{"callsign": "Net", "memory": "5", "operational": -2.0}, {"callsign": "net", "restart": {"window": 0, "limit": 0}}]}`,
			[]settings{
				{callsign: "Net", memory: 5 * time.Second, operational: 2 * time.Second, observeOnly: true},
				{callsign: "net", restart: &limits{}},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := readSettings(json.RawMessage(c.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(settings{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRefusedSettings(t *testing.T) {
	one := func(observable string) string { return `{"observables": [` + observable + `]}` }
	for text, want := range map[string]string{
		`{"observable": []}`:                   `"observable" is unknown, there is only observables`,
		`{"observables": {}}`:                  "observables: must be a list",
		one(`7`):                               "observable 1: must be an object",
		one(`null`):                            "observable 1: must be an object",
		one(`{"memory": 5}`):                   "observable 1: callsign is missing",
		one(`{"callsign": 5, "memory": 5}`):    "observable 1: callsign: must be a text",
		one(`{"callsign": "Net"}`):             "observable Net: there is nothing to do",
		one(`{"callsign": "Net", "memory":0}`): "observable Net: there is nothing to do",
		one(`{"Zebra": 1, "callsign": "Net"}`): `observable Net: "Zebra" is unknown, there is only callsign, memory, memorylimit, operational, restart`,
		one(`{"callsign": "Net", "memory": 5}, {"callsign": "Net", "memory": 6}`): "observable Net: it is listed twice",
		one(`{"callsign": "Net", "memorylimit": 5, "operational": 5}`):            "observable Net: memorylimit needs memory",
		one(`{"callsign": "Net", "memory": -1}`):                                  "observable Net: memory: must be a whole number from 0 to 2147483647, not -1",
		one(`{"callsign": "Net", "memory": 1.5}`):                                 "observable Net: memory: must be a whole number",
		one(`{"callsign": "Net", "memory": 1e300}`):                               "observable Net: memory: must be a whole number",
		one(`{"callsign": "Net", "memory": true}`):                                "observable Net: memory: must be a whole number",
		one(`{"callsign": "Net", "memory": "NaN"}`):                               "observable Net: memory: must be a whole number",
		one(`{"callsign": "Net", "restart": 3}`):                                  "observable Net: restart: must be an object",
		one(`{"callsign": "Net", "restart": {"limit": 3}}`):                       "observable Net: restart: window is missing",
		one(`{"callsign": "Net", "restart": {"window": 3}}`):                      "observable Net: restart: limit is missing",
		one(`{"callsign": "Net", "restart": {"window": 3, "limit": 256}}`):        "observable Net: restart: limit: must be a whole number from 0 to 255, not 256",
		one(`{"callsign": "Net", "restart": {"window": 3, "limits": 2}}`):         `observable Net: restart: "limits" is unknown, there is only limit, window`,
	} {
		_, err := readSettings(json.RawMessage(text))
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
