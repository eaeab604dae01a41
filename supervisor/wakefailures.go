package supervisor

import (
	"encoding/json"
	"errors"

	"dormouse/configs"
	"dormouse/shell"
)

// WakeFailedEvent is the event by which the Controller tells that a hibernated plugin could
// not be woken now.
const WakeFailedEvent = "wakefailed"

// tellFailedWake sends the event if the transition is the end of a wake that left the plugin
// asleep. The cause, which not every subscriber may see, is in the status. It must not block.
func (s *Supervisor) tellFailedWake(t shell.Transition) {
	failed, ok := errors.AsType[*shell.AsleepError](t.Err)
	if !ok || t.To != shell.Hibernated {
		return
	}
	params, _ := json.Marshal(map[string]any{"callsign": t.Callsign, "retryAfterMs": failed.RetryAfter().Milliseconds()}) // it holds only what JSON can hold
	s.events.Notification(configs.ControllerCallsign, shell.Notification{Event: WakeFailedEvent, Params: params})
}
