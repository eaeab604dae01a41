package process

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/internal/fileid"
	"dormouse/internal/ownedtree"
	"dormouse/shell"
	"dormouse/statecontrol"
)

// testCache is a ProgramCache that lives as long as a test.
type testCache map[string]CachedProgram

func (n testCache) Get(key string) (CachedProgram, bool, error) {
	r, found := n[key]
	return r, found, nil
}
func (n testCache) Put(key string, r CachedProgram) error { n[key] = r; return nil }

// countingStarts is a program that notes each of its starts in the returned file.
func countingStarts(t *testing.T, c configs.Plugin) (_ configs.Plugin, starts func() int) {
	t.Helper()
	dir, err := os.MkdirTemp("", "") //nolint:usetesting // it must not be deeper than the host's
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	list := filepath.Join(dir, "starts")
	script := fmt.Sprintf("#!/bin/sh\necho \"$PLUGIN_UNIX_SOCKET_DIR\" >> %s\nexec %s \"$@\"\n", list, c.Executable)
	c.Executable = filepath.Join(dir, "counted")
	if err := os.WriteFile(c.Executable, []byte(script), 0o755); err != nil { //nolint:gosec // it is a program
		t.Fatal(err)
	}
	return c, func() int {
		text, _ := os.ReadFile(list)
		return strings.Count(string(text), "\n")
	}
}

// waitSettled waits until a change of the file is old enough to be told from the next.
func waitSettled(t *testing.T, path string) {
	t.Helper()
	eventually(t, "the file is old enough", func() bool { return fileid.OfUnlessJustChanged(path) != fileid.ID{} })
}

// newRigWithCache is a rig whose host keeps what programs say.
func newRigWithCache(t *testing.T, c configs.Plugin, m ProgramCache) *rig {
	t.Helper()
	r := newRig(t, c)
	h := r.host
	h.Programs = m
	r.useHost(h)
	return r
}

func (r *rig) probe() shell.Information {
	r.t.Helper()
	info, err := r.ProbeProgram(r.contextFor(patience))
	if err != nil {
		r.t.Fatal(err)
	}
	return info
}

func TestProbe(t *testing.T) {
	c, starts := countingStarts(t, counter())
	memory := testCache{}
	r := newRigWithCache(t, c, memory)
	waitSettled(t, c.Executable)

	info := r.probe()
	if info.Class != "counter" || info.StateControl == nil || len(info.Services) == 0 {
		t.Errorf("it says %+v", info)
	}
	if starts() != 1 || r.pids() != nil || len(r.sink.exits) != 0 {
		t.Errorf("%d starts, processes %v, %d exits told", starts(), r.pids(), len(r.sink.exits))
	}
	for _, dir := range []string{r.runDir(), r.runDir() + probeSuffix, r.persistentDir()} {
		if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s is left: %v", dir, err)
		}
	}

	// It is not asked twice, by a later host neither.
	r.probe()
	later := newRigWithCache(t, c, memory)
	later.probe()
	if n := starts(); n != 1 || len(memory) != 1 {
		t.Errorf("%d starts, %d records", n, len(memory))
	}

	// What a probe told is good for an activation.
	later.activate()
	if state, err := info.StateControl.State(later.contextFor(patience)); err == nil {
		t.Errorf("the control of another host says %s", state)
	}
	if state, err := later.probe().StateControl.State(later.contextFor(patience)); state != statecontrol.Suspended || err != nil {
		t.Errorf("it is %q, %v", state, err)
	}
}

func TestProbeOfWhatHasChanged(t *testing.T) {
	c, starts := countingStarts(t, rogue())
	memory := testCache{}
	r := newRigWithCache(t, c, memory)
	expect := func(what string, want int) {
		t.Helper()
		if n := starts(); n != want {
			t.Errorf("%s: %d starts, want %d", what, n, want)
		}
	}
	r.probe()
	expect("at first", 1)

	// A file that was only touched is read, not run.
	if err := os.Chtimes(c.Executable, time.Time{}, time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	r.probe()
	expect("touched", 1)
	waitSettled(t, c.Executable)
	r.probe()
	for _, kept := range memory {
		if now := fileid.OfUnlessJustChanged(c.Executable); kept.File != fileFields(now) {
			t.Errorf("it would be read again: %+v, now %+v", kept.File, now)
		}
	}

	// Another content of the same size and times.
	info, err := os.Stat(c.Executable)
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(c.Executable)
	if err == nil {
		err = os.WriteFile(c.Executable, bytes.Replace(text, []byte("$@"), []byte("$*"), 1), 0o755) //nolint:gosec // it is a program
	}
	if err == nil {
		err = os.Chtimes(c.Executable, time.Time{}, info.ModTime())
	}
	if err != nil {
		t.Fatal(err)
	}
	r.probe()
	expect("changed", 2)
	r.probe()
	expect("changed and asked", 2)

	// Other arguments, another environment.
	r.config.Arguments = []string{"stubborn"}
	r.probe()
	expect("other arguments", 3)
	r.config.Environment = map[string]string{"A": "b"}
	r.probe()
	r.probe()
	expect("another environment", 4)
}

// Without a place to keep it, what a program said is known as long as the
// backend is.
func TestProbeWithoutCache(t *testing.T) {
	c, starts := countingStarts(t, rogue())
	r := newRig(t, c)
	r.probe()
	r.probe()
	r.activate()
	if n := starts(); n != 2 {
		t.Errorf("%d starts", n)
	}
}

// What a launch told need not be asked again.
func TestLaunchIsCached(t *testing.T) {
	c, starts := countingStarts(t, rogue())
	r := newRigWithCache(t, c, testCache{})
	waitSettled(t, c.Executable)
	r.activate()
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Fatal(err)
	}
	if info := r.probe(); info.Class != "rogue" || starts() != 1 {
		t.Errorf("it says %+v after %d starts", info, starts())
	}
}

func TestProbeThatFails(t *testing.T) {
	for how, want := range map[string]string{
		"exit":             "cannot find my data",
		"hang":             "wrote no line",
		"no-information":   "information",
		"orphans-first":    "",
		"panic-at-once":    "there is nothing to say",
		"endless-line-end": "",
	} {
		t.Run(how, func(t *testing.T) {
			memory := testCache{}
			r := newRigWithCache(t, rogue(how), memory)
			_, err := r.ProbeProgram(r.contextFor(2 * time.Second))
			if how == "orphans-first" {
				if err != nil || len(memory) != 1 {
					t.Errorf("got %v, %d records", err, len(memory))
				}
				return
			}
			if !errors.Is(err, shell.ErrInstantiation) || !strings.Contains(err.Error(), want) {
				t.Errorf("got %v, want %q", err, want)
			}
			if len(memory) != 0 {
				t.Errorf("it is remembered: %v", memory)
			}
			if _, err := os.Stat(r.runDir() + probeSuffix); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the run directory is left: %v", err)
			}
		})
	}
}

// A program is probed beside an instance of its callsign, which it does not touch, each time
// anew, and what it said serves a later start of the instance.
func TestProbeBesideTheInstance(t *testing.T) {
	c, starts := countingStarts(t, counter())
	r := newRigWithCache(t, c, testCache{})
	r.activate()
	pids := r.pids()
	for range 2 {
		info, err := r.host.ProbeProgram(r.contextFor(patience), c)
		if err != nil || info.Class != "counter" || info.StateControl != nil || len(info.Services) == 0 {
			t.Errorf("it says %+v, %v", info, err)
		}
	}
	if now := r.pids(); !slices.Equal(now, pids) || len(r.sink.exits) != 0 || starts() != 3 {
		t.Errorf("processes %v, before %v; %d exits told, %d starts", now, pids, len(r.sink.exits), starts())
	}
	if _, err := r.host.ProbeProgram(r.contextFor(patience), rogue("panic-at-once")); !errors.Is(err, shell.ErrInstantiation) || !strings.Contains(err.Error(), "there is nothing to say") {
		t.Errorf("got %v", err)
	}
	left, err := os.ReadDir(r.host.RunDir)
	if err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool { return strings.Contains(e.Name(), probeSuffix) }) {
		t.Errorf("in the run directory are %v, %v", left, err)
	}

	// What a host left that was killed in a probe is removed.
	killed := filepath.Join(r.host.RunDir, "~7"+probeSuffix)
	if err := ownedtree.Make(killed); err != nil {
		t.Fatal(err)
	}
	if err := r.host.KillRemovedInstances(func(string) bool { return true }); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(killed); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is left: %v", err)
	}
}
