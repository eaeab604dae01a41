package faults

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// packagesConfig has a short trial.
const packagesConfig = "[packages]\ntrial = \"1s\"\n"

// packageOperation is an operation on the package "versioned" that a host is killed in.
type packageOperation struct {
	name string
	// before leads to the state in which the operation begins; call begins it.
	before func(*packageSite, *host)
	method string
	params map[string]any
	// points are those that it passes.
	points []string
	// ends are the statuses, with the version that serves, that it may end in; "" for none.
	ends []string
}

const (
	installed1 = "INSTALLED 1.0.0"
	installed2 = "INSTALLED 2.0.0"
	failed2    = "FAILED (rollback available) 2.0.0"
)

// fetchPoints are those of every operation that brings a version.
var fetchPoints = []string{"fetching", "fetched", "verifying", "unpacking", "unpacked", "published", "probing", "probed", "committing", "committed"}

func packageOperations(s *packageSite) []packageOperation {
	return []packageOperation{
		{"install", nothing, "install", map[string]any{"package": s.one},
			slices.Concat(fetchPoints, []string{"starting", "started", "switched", "tried"}), []string{installed1}},
		{"upgrade", installOne, "install", map[string]any{"package": s.two},
			slices.Concat(fetchPoints, []string{"replacing", "kept", "replaced", "switched", "tried"}), []string{installed2}},
		{"failing upgrade", installOne, "install", map[string]any{"package": s.broken},
			[]string{"committed", "replacing", "kept", "replaced", "switched", "failing", "failed"}, []string{failed2}},
		{"rollback", failTwo, "rollback", map[string]any{"package": "versioned"},
			[]string{"restoring", "state.linkedback", "state.putback", "datarestored", "starting", "started", "rolledback"}, []string{installed1}},
		{"uninstall", installOne, "uninstall", map[string]any{"package": "versioned"},
			[]string{"removing", "ended", "purged", "unlinked", "collected"}, []string{""}},
		{"disable", installOne, "disable", map[string]any{"package": "versioned"},
			[]string{"disabling"}, []string{"DISABLED 1.0.0"}},
		{"enable", disableOne, "enable", map[string]any{"package": "versioned"},
			[]string{"enabling"}, []string{installed1}},
	}
}

func nothing(*packageSite, *host) {}

func installOne(s *packageSite, h *host) {
	h.must("Packager.install", map[string]any{"package": s.one}, nil)
	s.settled(h)
}

func failTwo(s *packageSite, h *host) {
	installOne(s, h)
	h.must("Packager.install", map[string]any{"package": s.broken}, nil)
	s.settled(h)
}

func disableOne(s *packageSite, h *host) {
	installOne(s, h)
	h.must("Packager.disable", map[string]any{"package": "versioned"}, nil)
	s.settled(h)
}

// A host that is killed at any step of an operation on a package is followed by one that brings it
// to an end: the old version whole or the new one, each with its data.
func TestKilledPackageOperations(t *testing.T) {
	t.Parallel()
	inPackageOperations(t, 5, func(t *testing.T, s *packageSite, o packageOperation, point string) {
		t.Helper()
		s.lead(o)
		s.killIn(o, point)
		s.checkNextHosts(o)
	})
}

// A host whose machine loses its power at any step of an operation on a package is followed by one
// that brings the operation to an end, as after a kill.
func TestPackageOperationsAfterPowerCut(t *testing.T) {
	t.Parallel()
	inPackageOperations(t, 4, func(t *testing.T, s *packageSite, o packageOperation, point string) {
		t.Helper()
		d := newDrive(t, s.root)
		s.lead(o)
		d.sync()
		s.killIn(o, point)
		cutPower(t, s.root)
		d.moveToAnotherMachine()
		s.clear() // the processes of the machine without power
		s.checkNextHosts(o)
	})
}

// A host whose disk breaks at any step of an operation on a package says so and serves on. A host
// that follows it, with what is on the disk, brings the operation to an end.
func TestPackageOperationsOnBrokenDisk(t *testing.T) {
	t.Parallel()
	inPackageOperations(t, 4, func(t *testing.T, s *packageSite, o packageOperation, point string) {
		t.Helper()
		d := newDrive(t, s.root)
		s.lead(o)
		d.sync()
		gate := filepath.Join(filepath.Dir(s.root), "gate")
		second := s.start(failpointOf(point) + " wait " + gate)
		second.ready()
		asked := make(chan error, 1)
		go func() { asked <- second.ask("Packager."+o.method, o.params, nil) }()
		until(t, "the point", func() bool { _, err := os.Stat(gate + ".reached"); return err == nil })
		d.fail()
		write(t, gate, nil)
		if err := <-asked; err != nil {
			t.Logf("the answer is %v", err)
		}
		until(t, "the host to say that its disk is broken", func() bool {
			said := second.log.String()
			return strings.Contains(said, "input/output error") || strings.Contains(said, "read-only file system") || strings.Contains(said, "disk I/O error")
		})
		s.list(second)
		_ = second.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-second.ended:
		case <-time.After(patience):
			t.Fatalf("the host does not end; its log is:\n%s", second.log.String())
		}
		d.moveToAnotherMachine()
		s.clear()
		s.checkNextHosts(o)
	})
}

// inPackageOperations tries some points of operations on packages, chosen by a seed, or all of
// them, each with a site of its own.
func inPackageOperations(t *testing.T, some int, try func(*testing.T, *packageSite, packageOperation, string)) {
	t.Helper()
	type attempt struct {
		operation int
		point     string
	}
	var all []attempt
	for i, o := range packageOperations(&packageSite{}) {
		for _, point := range o.points {
			all = append(all, attempt{i, point})
		}
	}
	if !thorough {
		seed := uint64(time.Now().UnixNano())
		t.Logf("the seed is %d", seed)
		rand.New(rand.NewPCG(seed, 0)).Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] }) //nolint:gosec // repeatable on purpose
		all = all[:some]
	}
	for _, a := range all {
		name := packageOperations(&packageSite{})[a.operation].name
		t.Run(name+"/"+a.point, func(t *testing.T) {
			runBeside(t)
			s := newPackageSite(t)
			try(t, s, packageOperations(s)[a.operation], a.point)
		})
	}
}

// failpointOf returns a point of an operation with its package's name, which is "package" if it has
// none.
func failpointOf(point string) string {
	if strings.Contains(point, ".") {
		return point
	}
	return "package." + point
}

// lead leads to the state in which the operation begins.
func (s *packageSite) lead(o packageOperation) {
	s.t.Helper()
	first := s.start("")
	first.ready()
	o.before(s, first)
	first.end()
}

// killIn has a host begin the operation and be killed at the point.
func (s *packageSite) killIn(o packageOperation, point string) {
	s.t.Helper()
	second := s.start(failpointOf(point))
	second.ready()
	if err := second.ask("Packager."+o.method, o.params, nil); err != nil && !second.dead() {
		s.t.Logf("the answer is %v", err) // the point may come before it
	}
	second.killed()
}

// checkNextHosts checks that the next host brings the operation to an end, and that all of it is
// there for the one after that.
func (s *packageSite) checkNextHosts(o packageOperation) {
	t := s.t
	t.Helper()
	third := s.start("")
	third.ready()
	s.settled(third)
	if got := s.status(third); !slices.Contains(o.ends, got) {
		t.Errorf("it ends as %q, want one of %q; the host's log is:\n%s", got, o.ends, third.log.String())
	}
	s.checkWhole(third)
	third.end()

	fourth := s.start("") // all of it is durable
	fourth.ready()
	s.settled(fourth)
	s.checkWhole(fourth)
	if s.status(fourth) != "" {
		fourth.must("Packager.uninstall", map[string]any{"package": "versioned", "purge": true}, nil)
		s.settled(fourth)
	}
	s.checkNothingLeft()
	fourth.end()
}

// A host that is killed, or whose machine loses its power, while it brings database and files into
// agreement is followed by one that finishes that.
func TestKilledSynchronization(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"database", "filesystem"} {
		for _, point := range []string{"syncing", "written", "unlinked", "trashed"} {
			for _, power := range []bool{false, true} {
				if power && !thorough && point != "written" && point != "trashed" {
					continue
				}
				t.Run(fmt.Sprintf("%s/%s/power-%t", source, point, power), func(t *testing.T) {
					runBeside(t)
					endInSynchronization(t, source, point, power)
				})
			}
		}
	}
}

// endInSynchronization has a host begin to synchronize two sides that differ, and end at the point;
// if it is by the power, the next has what was on the disk.
func endInSynchronization(t *testing.T, source, point string, power bool) {
	t.Helper()
	s := newPackageSite(t)
	var d *drive
	if power {
		d = newDrive(t, s.root)
	}
	first := s.start("")
	first.ready()
	installOne(s, first)
	first.end()
	files := filepath.Join(s.root, "packages", "files")
	target, err := os.Readlink(filepath.Join(files, "versioned"))
	must(t, err)
	must(t, os.Remove(filepath.Join(files, "versioned")))
	if source == "database" {
		must(t, os.RemoveAll(filepath.Join(files, target)))
		s.place("other")
	}
	s.configure(fmt.Sprintf("%ssource = %q\n", packagesConfig, source))
	if power {
		d.sync()
	}
	killed := s.start("package." + point)
	select {
	case <-killed.ended:
		killed.killed()
	default: // this source passes other points
		killed.ready()
		killed.end()
	}
	if power {
		cutPower(t, s.root)
		d.moveToAnotherMachine()
		s.clear()
	}
	last := s.start("")
	last.ready()
	s.settled(last)
	s.checkWhole(last)
	want := map[string]string{"database": installed1, "filesystem": ""}[source]
	if got := s.status(last); got != want {
		t.Errorf("it ends as %q, want %q; the host's log is:\n%s", got, want, last.log.String())
	}
	if _, err := os.Lstat(filepath.Join(files, "other")); err == nil {
		t.Error("what the database does not have is still among the files")
	}
	last.end()
}
