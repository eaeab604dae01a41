package faults

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// expectPackage expects the status and the version of the package, once no operation is under way,
// and the data of an instance on the disk.
func (s *packageSite) expectPackage(h *host, status, callsign, data string) {
	h.t.Helper()
	s.settled(h)
	if got := s.status(h); got != status {
		h.t.Errorf("it is %q, want %q; the host's log is:\n%s", got, status, h.log.String())
	}
	if got := string(read(h.t, filepath.Join(s.root, "persistent", callsign, "data"))); got != data {
		h.t.Errorf("the data of %s is %q, want %q", callsign, got, data)
	}
}

// failureLog returns the plugin's lines that are kept of the last failure.
func (s *packageSite) failureLog(h *host) string {
	h.t.Helper()
	var shown struct{ Failure *struct{ Log []string } }
	h.must("Packager.show", map[string]any{"package": "versioned"}, &shown)
	if shown.Failure == nil {
		h.t.Fatal("nothing has failed")
	}
	return strings.Join(shown.Failure.Log, "\n")
}

// Data of an instance and of its clone goes along with upgrades. A version that spoils it and dies
// in its trial is rolled back with the data of before; of that version alone are the lines kept.
func TestDataAcrossUpgradeAndRollback(t *testing.T) {
	runBeside(t)
	s := newPackageSite(t)
	h := s.start("")
	h.ready()
	installOne(s, h)
	h.must("Controller.clone", map[string]string{"callsign": "Versioned", "newcallsign": "Copy"}, nil)
	h.must("Controller.activate", map[string]string{"callsign": "Copy"}, nil)
	h.must("Packager.install", map[string]any{"package": s.two}, nil)
	s.expectPackage(h, installed2, "Versioned", "12")
	s.expectPackage(h, installed2, "Copy", "12")
	h.must("Packager.install", map[string]any{"package": s.spoiling("3.0.0")}, nil)
	s.expectPackage(h, "FAILED (rollback available) 3.0.0", "Versioned", "spoiled3")
	if log := s.failureLog(h); !strings.Contains(log, "version 3 begins") || strings.Contains(log, "version 2") {
		t.Errorf("of the failure are kept:\n%s", log)
	}
	h.must("Packager.rollback", map[string]any{"package": "versioned"}, nil)
	s.expectPackage(h, installed2, "Versioned", "122")
	s.expectPackage(h, installed2, "Copy", "122")
	h.end()
}

// With auto-rollback a version that dies in its trial is rolled back by the host itself.
func TestRollbackByItself(t *testing.T) {
	runBeside(t)
	s := newPackageSite(t)
	s.configure(packagesConfig + "auto-rollback = true\n")
	h := s.start("")
	h.ready()
	installOne(s, h)
	h.must("Packager.install", map[string]any{"package": s.spoiling("3.0.0")}, nil)
	until(t, "the rollback", func() bool { return strings.Contains(h.log.String(), `"verb":"rollback","from":"3.0.0","to":"1.0.0"`) })
	s.expectPackage(h, installed1, "Versioned", "11")
	s.checkWhole(h)
	h.end()
}

// A package that is upgraded while it is disabled keeps its data: the new version is tried once it
// is enabled, and can be rolled back.
func TestRollbackOfWhatWasDisabled(t *testing.T) {
	runBeside(t)
	s := newPackageSite(t)
	h := s.start("")
	h.ready()
	disableOne(s, h)
	h.must("Packager.install", map[string]any{"package": s.spoiling("3.0.0")}, nil)
	s.expectPackage(h, "DISABLED 3.0.0", "Versioned", "1")
	h.must("Packager.enable", map[string]any{"package": "versioned"}, nil)
	s.expectPackage(h, "FAILED (rollback available) 3.0.0", "Versioned", "spoiled3")
	h.must("Packager.rollback", map[string]any{"package": "versioned"}, nil)
	s.expectPackage(h, installed1, "Versioned", "11")
	h.end()
}

// Calls that come while a version is replaced are answered, by the version before or by the new
// one.
func TestCallersDuringSwitch(t *testing.T) {
	runBeside(t)
	s := newPackageSite(t)
	h := s.start("")
	h.ready()
	installOne(s, h)
	stop, done := make(chan struct{}), make(chan error, 4)
	for range cap(done) {
		go func() {
			seen := make(map[string]bool)
			for {
				var data string
				if err := h.ask("Versioned.data", nil, &data); err != nil {
					done <- err
					return
				}
				seen[data] = true
				select {
				case <-stop:
					if !seen["1"] || !seen["12"] || len(seen) != 2 {
						err := errors.New("the answers are not those of the two versions")
						t.Log(seen)
						done <- err
						return
					}
					done <- nil
					return
				default:
				}
			}
		}()
	}
	h.must("Packager.install", map[string]any{"package": s.two}, nil)
	s.settled(h)
	close(stop)
	for range cap(done) {
		if err := <-done; err != nil {
			t.Errorf("a caller: %v", err)
		}
	}
	s.expectPackage(h, installed2, "Versioned", "12")
	h.end()
}
