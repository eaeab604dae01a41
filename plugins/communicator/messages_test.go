package communicator

import (
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
	"dormouse/statecontrol/statecontrolpb"
	"dormouse/supervisor"
)

// The contract has a value for every state, start mode and state of state control.
func TestContractKnowsEveryState(t *testing.T) {
	for _, row := range shell.Lifecycle {
		for _, state := range []shell.State{row.From, row.During, row.Then, row.Else} {
			if state != "" && shellpb.StateOf(string(state)).Words() != string(state) {
				t.Errorf("the state %s is missing", state)
			}
		}
	}
	for _, mode := range []configs.StartMode{configs.StartUnavailable, configs.StartDeactivated, configs.StartActivated} {
		if shellpb.StartModeOf(string(mode)).Words() != string(mode) {
			t.Errorf("the start mode %s is missing", mode)
		}
	}
	for control, want := range map[statecontrol.State]shellpb.Control{
		"":                     shellpb.Control_CONTROL_NONE,
		statecontrol.Suspended: shellpb.Control_CONTROL_SUSPENDED,
		statecontrol.Resumed:   shellpb.Control_CONTROL_RESUMED,
		statecontrol.Exited:    shellpb.Control_CONTROL_NONE,
	} {
		if got := shellpb.ControlOf(string(control)); got != want {
			t.Errorf("%q is %s, want %s", control, got, want)
		}
	}
	for state, want := range map[statecontrol.State]statecontrolpb.State{
		statecontrol.Uninitialized: statecontrolpb.State_STATE_UNINITIALIZED,
		statecontrol.Suspended:     statecontrolpb.State_STATE_SUSPENDED,
		statecontrol.Resumed:       statecontrolpb.State_STATE_RESUMED,
		statecontrol.Exited:        statecontrolpb.State_STATE_EXITED,
	} {
		if got := state.ToWire(); got != want {
			t.Errorf("%s is %s, want %s", state, got, want)
		}
	}
}

// Readers learn that a state was lost, but neither why nor where it lies.
func TestLossMessage(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	loss := supervisor.Loss{Callsign: "A", At: at, Cause: "/opt/secret was replaced", Class: hibernate.Lasting, Generation: 7, Path: "/var/lib/secret/aside", Until: at.Add(time.Hour), Restorable: true}
	whole := lossMessage(loss, true)
	if whole.GetCallsign() != "A" || !whole.GetAt().AsTime().Equal(at) || whole.GetCause() != loss.Cause || whole.GetClass() != "lasting" ||
		whole.GetGeneration() != 7 || whole.GetPath() != loss.Path || !whole.GetUntil().AsTime().Equal(loss.Until) || !whole.GetRestorable() {
		t.Errorf("got %v", whole)
	}
	if part := lossMessage(loss, false); part.GetCause() != "" || part.GetPath() != "" || part.GetGeneration() != 7 {
		t.Errorf("a reader is shown %v", part)
	}
	if gone := lossMessage(supervisor.Loss{Callsign: "A", At: at}, true); gone.GetUntil() != nil {
		t.Errorf("an image that is gone is kept until %v", gone.GetUntil())
	}
}
