package main

import (
	"encoding/json"
	"errors"
	"os"
	"testing"

	"dormouse/hibernate/hibernatetest"
)

// TestDoctor has the machine examined with a CRIU that does not exist, without and with a
// swap.
func TestDoctor(t *testing.T) {
	examined := func() (found examination) {
		t.Helper()
		got := dormouse(t, nil, "doctor", "--criu", "/bin/false", "-o", "json")
		got.expect(t, exitFailed)
		if err := json.Unmarshal([]byte(got.out), &found); err != nil {
			t.Fatalf("%v in %s", err, got.out)
		}
		if found.Checkpoint.Works || found.Checkpoint.Why == "" || len(found.Findings) != 10 {
			t.Errorf("got %+v", found)
		}
		return found
	}
	dormouse(t, nil, "doctor", "--criu", "/bin/false").expect(t, exitFailed, "Plugins can sleep on disk: no, ", "Plugins can sleep in the swap: ")

	hibernatetest.SwitchSwapOn(t)
	found := examined()
	if os.Geteuid() != 0 || !found.Findings[2].OK {
		hibernatetest.SkipOrFail(t, errors.New("there are no cgroups to be had"))
	}
	if !found.PageOut.Works || found.PageOut.Why != "" {
		t.Errorf("with a swap: %+v", found)
	}
	dormouse(t, nil, "doctor", "--criu", "/bin/false").expect(t, exitFailed, "Plugins can sleep in the swap: yes.")
}

// What the host says at its start is what works.
func TestBrief(t *testing.T) {
	yes, no := support{Works: true}, support{}
	for can, want := range map[sleepSupport]string{
		{yes, yes}: "plugins sleep on disk, by criu 4, or in the swap",
		{yes, no}:  "plugins sleep on disk, by criu 4",
		{no, yes}:  "plugins sleep in the swap, but not on disk, see `d doctor`",
		{no, no}:   "hibernation is not available, see `d doctor`",
	} {
		if got := can.summaryLine("criu 4", "d doctor"); got != want {
			t.Errorf("%+v: %q", can, got)
		}
	}
}
