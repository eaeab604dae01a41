package criu_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/hibernate/criu/kinds"
)

// objectWithoutRow is an object of the C program that the table has no row for.
const objectWithoutRow = "virtual-machine"

// TestUnknownKind sets up an object that has no row, or takes the row out of the table: a
// process with the object is refused by name, and sleeps only if that is to be tried.
func TestUnknownKind(t *testing.T) {
	e := openEngine(t)
	program, _ := compileHolder(t)
	for _, c := range []struct {
		object string
		row    kinds.Kind
		words  string // of the error
		wakes  bool   // CRIU can take it
	}{
		{"eventfd", "eventfd", "has eventfd open as descriptor", true},
		{"udp", "udp", "has udp open as descriptor", true},
		{"anon-shared", "anonymous-shared", "has anonymous-shared, /dev/zero (deleted)", true},
		{"bpf-map", "bpf", "has bpf open as descriptor", false},
		{objectWithoutRow, "", "has anon_inode:kvm-vm open as descriptor", false},
	} {
		t.Run(c.object, func(t *testing.T) {
			h, said := startHolder(t, program, c.object)
			defer h.end(t)
			if why, absent := strings.CutPrefix(said, "absent: "); absent {
				t.Skipf("this machine has none: %s", why)
			}
			e.Table, e.TryUnknown = kinds.All().Without(c.row), false
			defer func() { e.Table, e.TryUnknown = nil, false }()
			err := h.sleep(t, e)
			if !errors.Is(err, hibernate.ErrObstacle) || !strings.Contains(err.Error(), c.words) || !strings.Contains(err.Error(), `unknown = "try"`) {
				t.Fatalf("error %v, want one with %q", err, c.words)
			}
			e.TryUnknown = true
			if err := h.sleep(t, e); (err == nil) != c.wakes || errors.Is(err, hibernate.ErrObstacle) {
				t.Errorf("tried, it fails with %v", err)
			}
			if said := h.check(); said != "ok" {
				t.Errorf("afterwards the program says %q", said)
			}
		})
	}
}

// TestPidfdOfOutside looks at a process with a pidfd of its parent, which is not in its
// tree.
func TestPidfdOfOutside(t *testing.T) {
	e := openEngine(t)
	fd, err := unix.PidfdOpen(os.Getppid(), 0)
	must(t, err)
	defer unix.Close(fd) //nolint:errcheck // nothing was written that could be lost
	err = e.ObstaclesAnyTime([]int{os.Getpid()})
	if !errors.Is(err, hibernate.ErrObstacle) || !strings.Contains(err.Error(), "has a pidfd of a process outside of the plugin") {
		t.Errorf("got %v", err)
	}
	own, err := unix.PidfdOpen(os.Getpid(), 0)
	must(t, err)
	must(t, unix.Close(fd))
	defer unix.Close(own) //nolint:errcheck // as above
	if err := e.ObstaclesAnyTime([]int{os.Getpid()}); err != nil && strings.Contains(err.Error(), "a pidfd") {
		t.Errorf("its own is in the way: %v", err)
	}
}
