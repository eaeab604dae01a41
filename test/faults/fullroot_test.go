package faults

import (
	"os"
	"path/filepath"
	"testing"
)

// A host whose disk is full when it starts serves: it says why it can't put plugins to sleep,
// refuses what it can't store, and does both once there is room.
func TestStartOnFullDisk(t *testing.T) {
	needCRIU(t)
	for name, disk := range map[string]func(t *testing.T, dir string){
		"tmpfs": small,
		"ext4":  func(t *testing.T, dir string) { t.Helper(); memoryDisk(t, dir) },
	} {
		for _, before := range []string{"new", "used"} {
			if name == "ext4" && before == "new" {
				continue // no directory can be made, so there is no place for sockets
			}
			t.Run(name+" "+before, func(t *testing.T) {
				s := newSite(t, noReserve, counter())
				disk(t, s.root)
				if before == "used" {
					h := s.start("")
					h.settled()
					h.end()
				}
				ballast := filepath.Join(s.root, "ballast")
				fill(t, ballast, 0)
				h := s.start("")
				h.ready()
				clone := map[string]string{"callsign": "Counter", "newcallsign": "Clone"}
				h.refuses("Controller.activate", "no space left on device")
				promised := h.ask("Controller.clone", clone, nil) == nil
				must(t, os.Remove(ballast))
				until(t, "the plugin to start by itself", func() bool {
					state := h.status().State
					return state == "suspended" || state == "resumed"
				})
				until(t, "hibernation to be available again", func() bool {
					return h.ask("Controller.hibernate", callsign, nil) == nil
				})
				h.must("Controller.activate", callsign, nil)
				awake(t, s, h, begin)
				if err := h.ask("Controller.clone", clone, nil); promised == (err == nil) {
					t.Errorf("a clone was promised: %v; now it leads to %v", promised, err)
				}
				h.end()
				h = s.start("")
				h.settled()
				if r := s.inspect(); r.of("Clone").State == "" {
					t.Errorf("the clone is gone, there is %+v", r.Instances)
				}
				h.end()
			})
		}
	}
}
