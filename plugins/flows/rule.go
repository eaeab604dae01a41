package flows

import (
	"fmt"

	"dormouse/configs"
)

// Readiness is what the system says of the plugin behind a flow.
type Readiness struct {
	// Ready reports whether the plugin can process messages. Disabled reports that a user
	// has disabled its package.
	Ready, Disabled bool
	// Why says why the plugin is not ready, in words that go after "it waits: ".
	Why string
}

// verdict is what becomes of a message for a flow.
type verdict int

// The verdicts.
const (
	reject  verdict = iota // the message is refused
	keep                   // the message waits in the queue
	process                // the message goes to the plugin
)

// readinessColumn is the column of the table of verdicts for a readiness.
type readinessColumn int

const (
	ready readinessColumn = iota
	notReady
	disabled
)

// verdicts is the whole effect of a flow's state, which is the user's, and of its plugin's
// readiness, which is the system's.
var verdicts = map[configs.FlowState]map[readinessColumn]verdict{
	configs.FlowRunning: {ready: process, notReady: keep, disabled: reject},
	configs.FlowPaused:  {ready: keep, notReady: keep, disabled: keep},
	configs.FlowStopped: {ready: reject, notReady: reject, disabled: reject},
}

// decide returns what becomes of a message for the flow of that name, and why the plugin
// does not get the message; why is empty for process.
func decide(name string, state configs.FlowState, r Readiness) (v verdict, why string) {
	column := notReady
	switch {
	case r.Disabled:
		column = disabled
	case r.Ready:
		column = ready
	}
	v = verdicts[state][column]
	switch {
	case v == process:
		return v, ""
	case state != configs.FlowRunning:
		return v, fmt.Sprintf("it is %s: dormouse flow run %s", state, name)
	}
	return v, r.Why
}
