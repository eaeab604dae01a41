package controller

import (
	"encoding/json"
	"net/http"

	"dormouse/plugins/thunder"
)

// thunderR5 is the newer generation.
type thunderR5 struct{}

func (thunderR5) wire(n thunder.Number) thunder.Wire { return n.R5() }

func (thunderR5) failureStatus() int { return http.StatusOK }

func (thunderR5) registered() any { return nil }

func (thunderR5) snapshots() bool { return true }

// r5Record is an instance as services shows it.
type r5Record struct {
	Callsign          string          `json:"callsign"`
	Locator           string          `json:"locator"`
	ClassName         string          `json:"classname"`
	Module            string          `json:"module"`
	State             string          `json:"state"`
	StartMode         string          `json:"startmode"`
	Resumed           bool            `json:"resumed"`
	Version           versionRecord   `json:"version"`
	Communicator      string          `json:"communicator,omitempty"`
	PersistentPath    string          `json:"persistentpathpostfix,omitempty"`
	VolatilePath      string          `json:"volatilepathpostfix,omitempty"`
	Precondition      []string        `json:"precondition,omitempty"`
	Termination       []string        `json:"termination,omitempty"`
	Control           []string        `json:"control,omitempty"`
	Configuration     json.RawMessage `json:"configuration,omitempty"`
	Observers         int             `json:"observers"`
	ProcessedRequests int64           `json:"processedrequests"`
	ProcessedObjects  int64           `json:"processedobjects"`
	additions
}

func (thunderR5) status(r record) any {
	if string(r.Configuration) == "{}" {
		r.Configuration = nil
	}
	return r5Record{
		r.Callsign, r.Locator, r.ClassName, r.Module, thunder.PascalCase(r.State), thunder.PascalCase(r.StartMode), r.Resumed, r.Version,
		r.Communicator, r.Postfix, r.Postfix, r.Preconditions, r.Terminations, r.Controls, r.Configuration,
		r.Observers, r.ProcessedRequests, 0, r.additions,
	}
}

func (d thunderR5) indexed(r record) any { return d.status(r) }

func (thunderR5) all(callsign, event string, params json.RawMessage) any {
	return struct {
		Event    string          `json:"event"`
		Callsign string          `json:"callsign"`
		Params   json.RawMessage `json:"params,omitempty"`
	}{event, callsign, params}
}
