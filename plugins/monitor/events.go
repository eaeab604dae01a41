package monitor

import (
	"encoding/json"

	"dormouse/shell"
)

// action is what the monitor does, in the words of the old interface and of the
// new one. The old one's spelling is Thunder's.
type action struct{ legacy, text string }

// cause is why the monitor ends an observable, in the words of both.
type cause struct {
	reason       shell.Reason
	legacy, text string
}

var (
	activated   = action{"Activate", "Activated"}
	deactivated = action{"Deactivate", "Deactivated"}
	stopped     = action{"StoppedRestaring", "RestartingStopped"}

	exceededMemory = cause{shell.MemoryExceeded, "MemoryExceeded", "ExceededMemory"}
	notOperational = cause{shell.Failure, "Failure", "NotOperational"}
)

// news is the content of both events.
type news struct {
	Callsign string `json:"callsign"`
	Action   string `json:"action"`
	Reason   string `json:"reason,omitempty"`
}

// tell sends the events of both interfaces.
func (w *watch) tell(o *observable, a action, legacyReason, reason string) {
	w.notify("action", news{o.callsign, a.legacy, legacyReason})
	w.notify("statuschanged", news{o.callsign, a.text, reason})
}

func (w *watch) notify(event string, n news) {
	params, err := json.Marshal(n)
	if err != nil {
		w.log.Error().Err(err).Str("event", event).Msg("could not send an event")
		return
	}
	w.sink.Notify(shell.Notification{Event: event, Params: params})
}
