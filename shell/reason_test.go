package shell_test

import (
	"testing"

	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// Every reason has its name in the contract, which has no other.
func TestReasonOnTheWire(t *testing.T) {
	all := []shell.Reason{
		shell.Requested, shell.Automatic, shell.Failure, shell.MemoryExceeded, shell.Startup, shell.Shutdown, shell.Conditions,
		shell.WatchdogExpired, shell.InitializationFailed, shell.InstantiationFailed,
	}
	if len(all) != len(shellpb.Reason_name) {
		t.Errorf("%d reasons, the contract has %d", len(all), len(shellpb.Reason_name))
	}
	for i, reason := range all {
		if wire := reason.Proto(); wire != shellpb.Reason(i) || wire.Words() != string(reason) {
			t.Errorf("%q is %s, which reads %q", reason, wire, wire.Words())
		}
	}
	if words := shellpb.Reason(99).Words(); words != "" {
		t.Errorf("one that is not known yet reads %q", words)
	}
}
