package faults

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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

// A host that is killed while it brings database and files into agreement is followed by one that
// finishes that.
func TestKilledSynchronization(t *testing.T) {
	t.Parallel()
	for _, source := range []string{"database", "filesystem"} {
		for _, point := range []string{"syncing", "written", "unlinked", "trashed"} {
			t.Run(source+"/"+point, func(t *testing.T) {
				runBeside(t)
				s := newPackageSite(t)
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
				killed := s.start("package." + point)
				select {
				case <-killed.ended:
					killed.killed()
				default: // this source passes other points
					killed.ready()
					killed.end()
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
			})
		}
	}
}

// packageSite is a site with sources of packages.
type packageSite struct {
	*site
	one, two, broken string
}

func newPackageSite(t *testing.T) *packageSite {
	t.Helper()
	s := &packageSite{site: newSite(t, packagesConfig)}
	s.one, s.two, s.broken = s.source("1.0.0", false), s.source("2.0.0", false), s.source("2.0.0", true)
	return s
}

// source writes a version of the package "versioned", and returns its directory.
func (s *packageSite) source(version string, fails bool) string {
	s.t.Helper()
	dir := filepath.Join(filepath.Dir(s.root), fmt.Sprintf("source-%s-%t", version, fails))
	s.writeSource(dir, "versioned", "Versioned", version, fails)
	return dir
}

// spoiling writes a version of the package that spoils its data and fails, and returns its
// directory.
func (s *packageSite) spoiling(version string) string {
	s.t.Helper()
	dir := s.source(version, true)
	path := filepath.Join(dir, "plugin.toml")
	write(s.t, path, []byte(strings.Replace(string(read(s.t, path)), "fails = true", "fails = true, spoils = true", 1)))
	return dir
}

func (s *packageSite) writeSource(dir, name, callsign, version string, fails bool) {
	s.t.Helper()
	must(s.t, os.MkdirAll(filepath.Join(dir, "bin"), 0o755))
	must(s.t, os.Link(programs+"/versioned", filepath.Join(dir, "bin", "versioned")))
	manifest := fmt.Sprintf(`name = %q
version = %q
[program]
linux-amd64 = "bin/versioned"
linux-arm64 = "bin/versioned"
[[instance]]
callsign = %q
start-mode = "activated"
configuration = { version = %q, fails = %t }
`, name, version, callsign, version[:1], fails)
	write(s.t, filepath.Join(dir, "plugin.toml"), []byte(manifest))
}

// place puts a package among the files, as an operator does.
func (s *packageSite) place(name string) {
	s.t.Helper()
	dir := filepath.Join(s.root, "packages", "files", name)
	s.writeSource(dir, name, "Other", "1.0.0", false)
	out, err := exec.Command("sh", "-c", "cd "+dir+" && sha256sum bin/versioned plugin.toml > SHA256SUMS").CombinedOutput()
	if err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
}

// shown is what the host says of a package.
type shown struct {
	Name, Version, Status string
	Phase                 string
}

func (s *packageSite) list(h *host) (all []shown) {
	h.t.Helper()
	h.must("Packager.list", nil, &all)
	return all
}

// settled returns when no operation is under way.
func (s *packageSite) settled(h *host) {
	h.t.Helper()
	until(h.t, "the operations to end", func() bool {
		return !slices.ContainsFunc(s.list(h), func(p shown) bool { return p.Phase != "" })
	})
}

// status returns the status and the version of the package, "" if there is none.
func (s *packageSite) status(h *host) string {
	h.t.Helper()
	for _, p := range s.list(h) {
		if p.Name == "versioned" {
			return p.Status + " " + p.Version
		}
	}
	return ""
}

// dataOf is the data that a version may have: it is written by the version itself, after those
// before it.
var dataOf = map[string]*regexp.Regexp{"1.0.0": regexp.MustCompile(`^1+$`), "2.0.0": regexp.MustCompile(`^1+2+$`)}

// checkWhole checks that one version is there as a whole, with the data of that version.
func (s *packageSite) checkWhole(h *host) {
	h.t.Helper()
	status := s.status(h)
	if status == "" {
		s.checkNothingLeft()
		return
	}
	version := status[strings.LastIndex(status, " ")+1:]
	link := filepath.Join(s.root, "packages", "files", "versioned")
	if out, err := exec.Command("sh", "-c", "cd "+link+" && sha256sum --quiet -c SHA256SUMS && grep -q 'version = \""+version+"\"' plugin.toml").CombinedOutput(); err != nil {
		h.t.Errorf("%s does not lead to the whole version %s: %v\n%s", link, version, err, out)
	}
	data := read(h.t, filepath.Join(s.root, "persistent", "Versioned", "data"))
	if !dataOf[version].Match(data) {
		h.t.Errorf("version %s has the data %q", version, data)
	}
	var instance []struct{ State string }
	h.must("Controller.status@Versioned", nil, &instance)
	runs := strings.HasPrefix(status, "INSTALLED")
	until(h.t, "the instance to run, or not to", func() bool {
		h.must("Controller.status@Versioned", nil, &instance)
		return (instance[0].State != "deactivated") == runs
	})
	if runs {
		var told string
		h.must("Versioned.data", nil, &told)
		if told != string(data) {
			h.t.Errorf("the plugin has the data %q, and on the disk is %q", told, data)
		}
	}
	s.checkState(h, version, runs)
	s.checkNoDrafts()
}

// checkState checks that the state of the instance is that of the version: a key and a blob, which
// the version appends to when it starts, and of which no file is left but that of the blob.
func (s *packageSite) checkState(h *host, version string, runs bool) {
	h.t.Helper()
	may := dataOf[version]
	if !runs {
		may = regexp.MustCompile(`^1+2*$`) // it may have ended before
	}
	var key struct{ Value string }
	h.must("State.get", map[string]any{"owner": "Versioned", "key": "data"}, &key)
	blob := string(h.blob("Versioned", "data"))
	if !may.MatchString(key.Value) || !may.MatchString(blob) {
		h.t.Errorf("version %s has the key %q and the blob %q", version, key.Value, blob)
	}
	if files := s.blobFiles(); len(files) != 1 {
		h.t.Errorf("the files of blobs are %q", files)
	}
}

// checkNoDrafts checks that nothing half written is left.
func (s *packageSite) checkNoDrafts() {
	s.t.Helper()
	must(s.t, filepath.WalkDir(filepath.Join(s.root, "packages"), func(path string, _ os.DirEntry, err error) error {
		if err == nil && (strings.Contains(path, "/.draft-") || strings.HasSuffix(path, ".part") || strings.Contains(path, "/.new-")) {
			s.t.Errorf("%s is left", path)
		}
		return nil
	}))
}

// checkNothingLeft checks that in the end nothing of the package is left but its data.
func (s *packageSite) checkNothingLeft() {
	s.t.Helper()
	until(s.t, "the package to be gone from the disk", func() bool { return len(s.leftOnDisk()) == 0 })
	var index struct{ Manifests []json.RawMessage }
	must(s.t, json.Unmarshal(read(s.t, filepath.Join(s.root, "packages", "database", "index.json")), &index))
	if len(index.Manifests) != 0 {
		s.t.Errorf("the database still has %s", index.Manifests)
	}
	s.checkNoDrafts()
}

// leftOnDisk returns what lies on the disk of the package.
func (s *packageSite) leftOnDisk() (left []string) {
	s.t.Helper()
	for _, dir := range []string{"versions", "files", "data"} {
		entries, err := os.ReadDir(filepath.Join(s.root, "packages", dir))
		must(s.t, err)
		for _, e := range entries {
			if e.Name() != ".dormouse" && e.Name() != "other" {
				left = append(left, dir+"/"+e.Name())
			}
		}
	}
	return left
}
