package flows

import (
	"testing"

	"dormouse/configs"
)

func TestDecide(t *testing.T) {
	const (
		running = configs.FlowRunning
		paused  = configs.FlowPaused
		stopped = configs.FlowStopped
	)
	isReady, isNotReady := Readiness{Ready: true}, Readiness{Why: "the package is being installed"}
	isDisabled := Readiness{Disabled: true, Why: "the package p is disabled"}
	readyButDisabled := Readiness{Ready: true, Disabled: true, Why: "the package p is disabled"}
	for _, test := range []struct {
		state  configs.FlowState
		plugin Readiness
		want   verdict
		why    string
	}{
		{running, isReady, process, ""},
		{running, isNotReady, keep, "the package is being installed"},
		{running, isDisabled, reject, "the package p is disabled"},
		{running, readyButDisabled, reject, "the package p is disabled"},
		{paused, isReady, keep, "it is paused: dormouse flow run f"},
		{paused, isNotReady, keep, "it is paused: dormouse flow run f"},
		{paused, isDisabled, keep, "it is paused: dormouse flow run f"},
		{paused, readyButDisabled, keep, "it is paused: dormouse flow run f"},
		{stopped, isReady, reject, "it is stopped: dormouse flow run f"},
		{stopped, isNotReady, reject, "it is stopped: dormouse flow run f"},
		{stopped, isDisabled, reject, "it is stopped: dormouse flow run f"},
		{stopped, readyButDisabled, reject, "it is stopped: dormouse flow run f"},
		{"unknown", isReady, reject, "it is unknown: dormouse flow run f"},
	} {
		got, why := decide("f", test.state, test.plugin)
		if got != test.want || why != test.why {
			t.Errorf("%s and %+v: got %d, %q; want %d, %q", test.state, test.plugin, got, why, test.want, test.why)
		}
	}
}
