package controller

import (
	"encoding/json"
	"net/http"

	"dormouse/plugins/thunder"
)

// thunderR4 is what the devices in the field speak.
type thunderR4 struct{}

func (thunderR4) wire(n thunder.Number) thunder.Wire { return n.R4() }

func (thunderR4) failureStatus() int { return http.StatusAccepted }

func (thunderR4) registered() any { return 0 }

func (thunderR4) snapshots() bool { return false }

// r4Record is an instance as status shows it.
type r4Record struct {
	Callsign          string          `json:"callsign"`
	Locator           string          `json:"locator"`
	ClassName         string          `json:"classname"`
	AutoStart         bool            `json:"autostart"`
	Resumed           bool            `json:"resumed"`
	WebUI             string          `json:"webui,omitempty"`
	Precondition      []string        `json:"precondition,omitempty"`
	Termination       []string        `json:"termination,omitempty"`
	Control           []string        `json:"control,omitempty"`
	Configuration     json.RawMessage `json:"configuration"`
	PersistentPath    string          `json:"persistentpathpostfix,omitempty"`
	VolatilePath      string          `json:"volatilepathpostfix,omitempty"`
	StartupOrder      int             `json:"startuporder"`
	StartMode         string          `json:"startmode"`
	Communicator      string          `json:"communicator,omitempty"`
	State             string          `json:"state"`
	ProcessedRequests int64           `json:"processedrequests"`
	ProcessedObjects  int64           `json:"processedobjects"`
	Observers         int             `json:"observers"`
	Module            string          `json:"module"`
	Version           versionRecord   `json:"version"`
	additions
}

func (thunderR4) status(r record) any {
	return r4Record{
		r.Callsign, r.Locator, r.ClassName, r.AutoStart, r.Resumed, r.WebUI, r.Preconditions, r.Terminations, r.Controls,
		r.Configuration, r.Postfix, r.Postfix, r.StartupOrder, thunder.PascalCase(r.StartMode), r.Communicator, r.State,
		r.ProcessedRequests, 0, r.Observers, r.Module, r.Version, r.additions,
	}
}

func (d thunderR4) indexed(r record) any { return []any{d.status(r)} }

// all names the event too: without it, nobody could tell a plugin's events apart.
func (thunderR4) all(callsign, event string, params json.RawMessage) any {
	return struct {
		Callsign string          `json:"callsign"`
		Data     json.RawMessage `json:"data,omitempty"`
		Event    string          `json:"event"`
	}{callsign, params, event}
}
