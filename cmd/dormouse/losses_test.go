package main

import (
	"context"
	"os"
	"strings"
	"testing"

	"dormouse/plugins/controller/controllerpb"
)

// replaceProgram puts another program, which works as well, in the place of the program.
func replaceProgram(t *testing.T, program string) {
	t.Helper()
	text, err := os.ReadFile(program)
	if err == nil {
		err = os.WriteFile(program+".new", append(text, 0), 0o700)
	}
	if err == nil {
		err = os.Rename(program+".new", program)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// An update of the program loses what its plugin slept in. That is told by this host and the
// next, to each kind of client, until an operator acknowledges it.
func TestLossIsToldUntilAcknowledged(t *testing.T) {
	requireCRIU(t)
	root, program := t.TempDir(), copyOfCounter(t)
	text := strings.ReplaceAll(ownCounter, "PROGRAM", program)
	h := startHost(t, root, text)
	h.wait(t, "ready")
	h.dormouse(t, "plugin", "acknowledge", "Counter").expect(t, exitDone, "Counter has lost nothing")
	h.dormouse(t, "call", "Counter.increment").expect(t, exitDone)
	h.dormouse(t, "plugin", "suspend", "Counter").expect(t, exitDone)
	h.dormouse(t, "plugin", "hibernate", "Counter").expect(t, exitDone)
	replaceProgram(t, program)
	h.dormouse(t, "images", "check", "--root", root).expect(t, exitFailed, "Counter", "was replaced or changed")
	const why = "counter was replaced or changed since"
	h.dormouse(t, "plugin", "activate", "Counter").expect(t, exitDone, "it was started afresh: ", why, "; kept until ", root+"/images/Counter/aside")
	h.end(t)

	h = startHost(t, root, text)
	h.wait(t, "ready")
	h.dormouse(t, "plugin", "list").expect(t, exitDone, "lost: what Counter slept in, ", why, "dormouse plugin acknowledge Counter")
	h.dormouse(t, "plugin", "show", "Counter").expect(t, exitDone, "lost ", why)
	h.dormouse(t, "plugin", "activate", "Counter").expect(t, exitDone, "; it has lost what it slept in, ", why)
	h.dormouse(t, "call", "Controller.activate", `{"callsign":"Counter"}`).expect(t, exitDone, `{"lost":[{"at":"`, `"class":"lasting"`)
	native, _ := h.nativeClient(t)
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	counter := &controllerpb.InstanceRequest{Callsign: "Counter"}
	if done, err := native.Controller().Activate(ctx, counter); err != nil || len(done.GetLost()) != 1 || !done.GetLost()[0].GetRestorable() {
		t.Errorf("a native client is answered %v, %v", done, err)
	}
	if all, err := native.Controller().Losses(ctx, &controllerpb.LossesRequest{}); err != nil || len(all.GetLosses()) != 1 {
		t.Errorf("a native client is told %v, %v", all, err)
	}

	h.dormouse(t, "plugin", "acknowledge", "Counter", "Nothing").expect(t, exitFailed, "Counter: one loss is acknowledged", `!there is no instance "Nothing"`)
	if done, err := native.Controller().Acknowledge(ctx, counter); err != nil || done.GetLosses() != 0 {
		t.Errorf("a second acknowledgement is answered %v, %v", done, err)
	}
	h.dormouse(t, "call", "Controller.activate", `{"callsign":"Counter"}`).expect(t, exitDone, "null")
	if r := h.dormouse(t, "plugin", "list"); strings.Contains(r.out, "lost") {
		t.Errorf("after the acknowledgement the list says:\n%s", r.out)
	}
	h.end(t)
	h = startHost(t, root, text)
	h.wait(t, "ready")
	if r := h.dormouse(t, "plugin", "list"); strings.Contains(r.out, "lost") {
		t.Errorf("the next host says:\n%s", r.out)
	}
}

// An update that is undone makes the loss good: the image that was put aside is put back, once.
func TestImageIsRestored(t *testing.T) {
	requireCRIU(t)
	root, program := t.TempDir(), copyOfCounter(t)
	original, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	h := startHost(t, root, strings.ReplaceAll(ownCounter, "PROGRAM", program))
	h.wait(t, "ready")
	h.dormouse(t, "images", "restore", "Counter").expect(t, exitFailed, "!it is activated", "!plugin deactivate Counter")
	h.dormouse(t, "call", "Counter.increment", `{"by":5}`).expect(t, exitDone)
	h.dormouse(t, "plugin", "suspend", "Counter").expect(t, exitDone)
	h.dormouse(t, "plugin", "hibernate", "Counter").expect(t, exitDone)
	replaceProgram(t, program)
	h.dormouse(t, "plugin", "activate", "Counter").expect(t, exitDone, "it was started afresh")
	h.dormouse(t, "call", "Counter.get").expect(t, exitDone, `{"value":0}`)
	h.dormouse(t, "images", "list", "--root", root).expect(t, exitDone, "aside", "was replaced or changed")
	h.dormouse(t, "images", "check", "--root", root).expect(t, exitDone)

	h.dormouse(t, "plugin", "deactivate", "Counter").expect(t, exitDone)
	h.dormouse(t, "images", "restore", "Counter").expect(t, exitFailed, "!generation 1 stays aside", "!was replaced or changed", "!undo that change and try again")
	if err := os.WriteFile(program+".old", original, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(program+".old", program); err != nil {
		t.Fatal(err)
	}
	h.dormouse(t, "images", "list", "--root", root).expect(t, exitDone, "aside", "yes")
	h.dormouse(t, "images", "restore", "Counter", "--generation", "7").expect(t, exitFailed, "!there is no image", "!images list")
	h.dormouse(t, "images", "restore", "Counter", "--generation", "1").expect(t, exitDone, "Counter sleeps again")
	if r := h.dormouse(t, "plugin", "list").expect(t, exitDone, "hibernated"); strings.Contains(r.out, "lost") {
		t.Errorf("what was made good is still told:\n%s", r.out)
	}
	h.dormouse(t, "plugin", "wake", "Counter").expect(t, exitDone, "Counter woken")
	h.dormouse(t, "call", "Counter.get").expect(t, exitDone, `{"value":5}`)
	h.dormouse(t, "plugin", "deactivate", "Counter").expect(t, exitDone)
	h.dormouse(t, "images", "restore", "Counter").expect(t, exitFailed, "!there is no image that was put aside")
}
