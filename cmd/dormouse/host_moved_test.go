package main

import (
	"os"
	"path/filepath"
	"testing"
)

// A plugin that sleeps is not lost when the root is moved: it sleeps on, says why, and wakes
// when its files are found at their former path again, be it by a link.
func TestMovedRoot(t *testing.T) {
	requireCRIU(t)
	dir := passableDir(t)
	before, after := filepath.Join(dir, "before"), filepath.Join(dir, "after")
	h := startHost(t, before, bothExamples)
	h.wait(t, "hibernation is available")
	h.wait(t, "ready")
	h.dormouse(t, "call", "Counter.increment").expect(t, exitDone, `{"value":42}`)
	h.dormouse(t, "plugin", "suspend", "Counter").expect(t, exitDone)
	h.dormouse(t, "plugin", "hibernate", "Counter").expect(t, exitDone)
	h.end(t)
	if err := os.Rename(before, after); err != nil {
		t.Fatal(err)
	}

	h = startHost(t, after, bothExamples)
	h.wait(t, "ready")
	why := "it was put to sleep with its files in " + filepath.Join(before, "run", "Counter") + ", which are in " + filepath.Join(after, "run", "Counter") + " now"
	h.dormouse(t, "plugin", "activate", "Counter").expect(t, exitFailed, "!"+why)
	if got := h.show(t, "Counter").State; got != "hibernated" {
		t.Errorf("it is %s", got)
	}
	h.end(t)

	if err := os.Symlink(after, before); err != nil {
		t.Fatal(err)
	}
	h = startHost(t, after, bothExamples)
	h.wait(t, "ready")
	h.dormouse(t, "plugin", "activate", "Counter").expect(t, exitDone)
	h.dormouse(t, "call", "Counter.get").expect(t, exitDone, `{"value":42}`)
	h.end(t)
}
