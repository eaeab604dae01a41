package dialect

import (
	"encoding/json"
	"net/http"

	"dormouse/plugins/thunder"
)

// R4 is the dialect of Thunder R4, which devices in the field speak.
type R4 struct{}

// WireError returns a number as R4 writes it.
func (R4) WireError(n thunder.ErrorNumber) thunder.WireError { return n.R4Error() }

// FailureHTTPStatus returns 202.
func (R4) FailureHTTPStatus() int { return http.StatusAccepted }

// RegisterResult returns 0.
func (R4) RegisterResult() any { return 0 }

// AllowsVersionInCallsign returns true.
func (R4) AllowsVersionInCallsign() bool { return true }

// SnapshotsOnRegister returns false.
func (R4) SnapshotsOnRegister() bool { return false }

// HasStateProperty returns true: many plugins of Thunder up to R4 have it.
func (R4) HasStateProperty() bool { return true }

// R4Record is an instance as R4 writes it, in its order.
type R4Record struct {
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
	Version           Version         `json:"version"`
	Additions
}

// StatusInList returns an R4Record.
func (R4) StatusInList(r Record) any {
	return R4Record{
		r.Callsign, r.Locator, r.ClassName, r.AutoStart, r.Resumed, r.WebUI, r.Preconditions, r.Terminations, r.Controls,
		r.Configuration, r.Postfix, r.Postfix, r.StartupOrder, thunder.PascalCase(r.StartMode), r.Communicator, r.State,
		r.ProcessedRequests, 0, r.Observers, r.Module, r.Version, r.Additions,
	}
}

// StatusByCallsign returns a list of one R4Record.
func (d R4) StatusByCallsign(r Record) any { return []any{d.StatusInList(r)} }

// AllEventParams returns an object with the members callsign, data and event. Thunder
// leaves the event out, without which clients could not tell the events of one
// plugin apart.
func (R4) AllEventParams(callsign, event string, params json.RawMessage) any {
	return struct {
		Callsign string          `json:"callsign"`
		Data     json.RawMessage `json:"data,omitempty"`
		Event    string          `json:"event"`
	}{callsign, params, event}
}
