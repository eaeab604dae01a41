package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

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
	program := filepath.Join(dir, "bin", "versioned")
	if os.Link(programs+"/versioned", program) != nil { // it is on another disk
		must(s.t, os.WriteFile(program, read(s.t, programs+"/versioned"), 0o755))
	}
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
