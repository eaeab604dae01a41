package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"syscall"
	"testing"
	"time"

	"dormouse/hibernate"
	"dormouse/internal/cgroup"
	"dormouse/shell"
)

// sweepPoints is at how many moments of a dump or restore CRIU is killed.
func sweepPoints() int {
	if os.Getenv("DORMOUSE_FAULTS") == "all" {
		return 30
	}
	return 6
}

// killAt kills every CRIU in the cgroup after a time; the returned function waits
// for that and reports whether there was one.
func killAt(group cgroup.Dir, after time.Duration) (hit func() bool) {
	done := make(chan bool, 1)
	go func() {
		<-time.After(after)
		there := false
		for _, pid := range group.Members() {
			line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			if err == nil && bytes.Contains(line, []byte("\x00swrk\x00")) {
				there = syscall.Kill(pid, syscall.SIGKILL) == nil || there
			}
		}
		done <- there
	}()
	return func() bool { return <-done }
}

// Whenever CRIU is killed in a dump, there is a plugin or an image, and what was
// not done can be done.
func TestCRIUKilledAnywhereInDump(t *testing.T) {
	m := &faultyEngine{}
	r := newFaultyRig(t, m)
	needCgroups(r)
	failed, exited := 0, 0
	for i := range sweepPoints() {
		hit := func() bool { return false }
		m.duringDump = func(d hibernate.DumpOrder) {
			hit = killAt(d.Cgroup, time.Duration(i)*45*time.Millisecond/time.Duration(sweepPoints()))
		}
		err := r.Hibernate(r.contextFor(patience))
		killed := hit()
		m.duringDump = nil
		switch {
		case err == nil:
		case !killed:
			t.Errorf("at %d it was not killed: %v", i, err)
		case errors.Is(err, shell.ErrExited): // it died inside the plugin
			exited++
			_ = receive(t, r.sink.exits)
			if err := r.Stop(r.contextFor(patience)); err != nil {
				t.Fatal(err)
			}
			r.activate()
			call[any](r, "increment", "")
		default:
			failed++
		}
		if err != nil {
			r.hibernate()
		}
		r.wake()
		if got := r.count(); got != 42 {
			t.Fatalf("at %d it counts from %d", i, got)
		}
		for _, name := range r.imageFiles() {
			if name[:5] != "trash" {
				t.Errorf("at %d %s is left in the image store", i, name)
			}
		}
	}
	t.Logf("of %d dumps %d failed and %d took the plugin along", sweepPoints(), failed, exited)
	r.checkNoExitReported()
}

// Whenever CRIU is killed in a restore, its image is intact: the second attempt
// brings the plugin back.
func TestCRIUKilledAnywhereInRestore(t *testing.T) {
	m := &faultyEngine{}
	r := newFaultyRig(t, m)
	needCgroups(r)
	second := 0
	for i := range sweepPoints() {
		r.hibernate()
		hit, tries := func() bool { return false }, 0
		m.restore = func(o hibernate.RestoreOrder) error {
			if tries++; tries == 1 {
				hit = killAt(o.Cgroup, time.Duration(i)*25*time.Millisecond/time.Duration(sweepPoints()))
			}
			return nil
		}
		_, err := r.Wake(r.contextFor(patience))
		hit()
		m.restore = nil
		if err != nil {
			t.Fatalf("at %d: %v", i, err)
		}
		second += tries - 1
		if got := r.count(); got != 42 {
			t.Fatalf("at %d it counts from %d", i, got)
		}
		if there, ours := r.life.tree.cgroup().Members(), r.pids(); len(there) != len(ours) || !slices.Contains(there, ours[0]) {
			t.Errorf("at %d processes %v are in the cgroup, the plugin's are %v", i, there, ours)
		}
	}
	t.Logf("of %d wakes %d needed a second attempt", sweepPoints(), second)
	r.checkNoExitReported()
}
