package dialect

import (
	"encoding/json"
	"net/http"

	"dormouse/plugins/thunder"
)

// R5 is the dialect of Thunder R5, the newer generation.
type R5 struct{}

// WireError returns a number as R5 writes it.
func (R5) WireError(n thunder.ErrorNumber) thunder.WireError { return n.R5Error() }

// FailureHTTPStatus returns 200.
func (R5) FailureHTTPStatus() int { return http.StatusOK }

// RegisterResult returns null.
func (R5) RegisterResult() any { return nil }

// AllowsVersionInCallsign returns false.
func (R5) AllowsVersionInCallsign() bool { return false }

// SnapshotsOnRegister returns true.
func (R5) SnapshotsOnRegister() bool { return true }

// HasStateProperty returns false: statecontrol::state took its place.
func (R5) HasStateProperty() bool { return false }

// R5Record is an instance as R5 writes it, in its order.
type R5Record struct {
	Callsign          string          `json:"callsign"`
	Locator           string          `json:"locator"`
	ClassName         string          `json:"classname"`
	Module            string          `json:"module"`
	State             string          `json:"state"`
	StartMode         string          `json:"startmode"`
	Resumed           bool            `json:"resumed"`
	Version           Version         `json:"version"`
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
	Additions
}

// StatusInList returns an R5Record.
func (R5) StatusInList(r Record) any {
	if string(r.Configuration) == "{}" {
		r.Configuration = nil
	}
	return R5Record{
		r.Callsign, r.Locator, r.ClassName, r.Module, thunder.PascalCase(r.State), thunder.PascalCase(r.StartMode), r.Resumed, r.Version,
		r.Communicator, r.Postfix, r.Postfix, r.Preconditions, r.Terminations, r.Controls, r.Configuration,
		r.Observers, r.ProcessedRequests, 0, r.Additions,
	}
}

// StatusByCallsign returns an R5Record.
func (d R5) StatusByCallsign(r Record) any { return d.StatusInList(r) }

// AllEventParams returns an object with the members event, callsign and params.
func (R5) AllEventParams(callsign, event string, params json.RawMessage) any {
	return struct {
		Event    string          `json:"event"`
		Callsign string          `json:"callsign"`
		Params   json.RawMessage `json:"params,omitempty"`
	}{event, callsign, params}
}
