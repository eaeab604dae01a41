package main

import (
	"testing"

	"golang.org/x/sys/unix"

	"dormouse/hibernate/hibernatetest"
)

// A plugin that restricted itself is never put on disk without being told so, runs on
// restricted, and sleeps in the swap where there is one.
func TestLandlock(t *testing.T) {
	requireCRIU(t)
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno != 0 {
		t.Skipf("this machine has no Landlock: %v", errno)
	}
	h := startHost(t, t.TempDir(), `
[[plugin]]
callsign = "Picky"
executable = "EXAMPLES/picky"
arguments = ["landlock"]
start-mode = "activated"
resumed = false
`)
	h.wait(t, "ready")
	const named = "has the Landlock domain of thread"
	h.dormouse(t, "plugin", "explain", "Picky").expect(t, exitDone, "is stopped by nothing that is known")
	h.dormouse(t, "plugin", "hibernate", "Picky").expect(t, exitFailed, "!"+named)
	h.dormouse(t, "plugin", "explain", "Picky").expect(t, exitDone, named) // now it is known
	if now := h.show(t, "Picky"); now.State != "suspended" {
		t.Errorf("after the attempt it is %+v", now)
	}
	hibernatetest.SwitchSwapOn(t)
	h.dormouse(t, "plugin", "hibernate", "Picky").expect(t, exitDone, " in the swap, ")
	h.dormouse(t, "plugin", "activate", "Picky").expect(t, exitDone, "from the swap")
	if code := h.end(t); code != exitDone {
		t.Errorf("the host ended with code %d; its log is:\n%s", code, h.log)
	}
}
