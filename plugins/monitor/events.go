package monitor

import (
	"dormouse/internal/jsonrpc"
	"dormouse/shell"
)

// action is an action of the monitor, in the words of Thunder's old interface and
// of its new one.
type action struct{ legacy, text string }

// cause is why the monitor ends an observable, in the words of both interfaces.
type cause struct {
	reason       shell.Reason
	legacy, text string
}

// The actions that the monitor reports, and the causes for which it ends an observable.
var (
	activated   = action{"Activate", "Activated"}
	deactivated = action{"Deactivate", "Deactivated"}
	stopped     = action{"StoppedRestaring", "RestartingStopped"}

	exceededMemory = cause{shell.MemoryExceeded, "MemoryExceeded", "ExceededMemory"}
	notOperational = cause{shell.Failure, "Failure", "NotOperational"}
)

// eventParams is the parameters of the events of both interfaces.
type eventParams struct {
	Callsign string `json:"callsign"`
	Action   string `json:"action"`
	Reason   string `json:"reason,omitempty"`
}

// sendEvents sends the event "action" of Thunder's old interface, with legacyReason, and the
// event "statuschanged" of its new one, with reason.
func (w *watch) sendEvents(o *observable, a action, legacyReason, reason string) {
	w.sendEvent("action", eventParams{o.callsign, a.legacy, legacyReason})
	w.sendEvent("statuschanged", eventParams{o.callsign, a.text, reason})
}

// sendEvent sends one event of the Monitor instance.
func (w *watch) sendEvent(event string, n eventParams) {
	w.sink.Notify(shell.Notification{Event: event, Params: jsonrpc.MustMarshal(n)})
}
