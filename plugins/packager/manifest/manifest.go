// Package manifest reads plugin.toml, which says what a plugin package is: its programs and
// instances, what they need, may be given and can do. It does not know how packages are
// fetched, unpacked or trusted.
package manifest

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/Masterminds/semver/v3"

	"dormouse/configs"
	"dormouse/internal/regularfile"
	"dormouse/internal/schema"
	"dormouse/shell"
)

// FileName is the name of the manifest in the top directory of a package.
const FileName = "plugin.toml"

const maxSize = 1 << 20

// Manifest is what plugin.toml says. One that Parse or Read returned is valid, but its
// programs may be for other machines, and it may ask for more than the host allows: see
// CheckFor.
type Manifest struct {
	Name        string
	Version     string // semantic, without "v"
	Description string // of one line, may be empty

	Provides []Provided
	Uses     []Used
	// Profile is what others find the instances by, besides what their plugins say: the types of
	// Provides and of the tables [[type]], the tags and the tables [[use]]. Parse leaves the
	// schemas out.
	Profile shell.Profile

	// Programs are the relative paths of the program by platform, as "linux-amd64".
	Programs map[string]string

	// Instances are the tables [[instance]], as the file sets them.
	Instances []configs.InstanceKeys

	// SchemaFile is the relative path of the JSON Schema of the instances' configuration, ""
	// for none.
	SchemaFile string

	// Flows are the tables [[flow]]; each names its instance.
	Flows []configs.Flow

	// Data is the number of the format in which the instances keep their data.
	Data int

	Privileges Privileges

	schema *schema.Schema // nil unless Read has read it
}

// Provided is a type of plugin that the package is, at a version.
type Provided struct{ Type, Version string }

// String returns the text that stands in the manifest.
func (p Provided) String() string { return p.Type + " " + p.Version }

// Used is a type of plugin that the package needs, at a range of versions such as "^1.2" or
// ">=1.0, <3".
type Used struct{ Type, Range string }

// String returns the text that stands in the manifest.
func (u Used) String() string { return u.Type + " " + u.Range }

// IsMetBy reports whether a package that provides p is what u needs.
func (u Used) IsMetBy(p Provided) bool {
	if u.Type != p.Type {
		return false
	}
	constraint, err := semver.NewConstraint(u.Range)
	if err != nil {
		return false
	}
	version, err := semver.StrictNewVersion(p.Version)
	return err == nil && constraint.Check(version)
}

// IsVersion reports whether the text is a semantic version, without "v".
func IsVersion(text string) bool { return checkVersion(text) == nil }

// CompareVersions returns -1, 0 or +1 as the version a is lower than b, equal, or higher. What
// follows "+" counts if all else is equal, as text.
func CompareVersions(a, b string) int {
	x, xerr := semver.StrictNewVersion(a)
	y, yerr := semver.StrictNewVersion(b)
	if xerr != nil || yerr != nil {
		return cmp.Compare(a, b)
	}
	return cmp.Or(x.Compare(y), cmp.Compare(x.Metadata(), y.Metadata()))
}

// Read returns the manifest of the package that is unpacked in dir. The files that it names
// must be there. An error about the manifest is of the type configs.LoadErrors.
func Read(dir string) (Manifest, error) {
	path := filepath.Join(dir, FileName)
	text, err := regularfile.Read(path, maxSize)
	if errors.Is(err, fs.ErrNotExist) {
		return Manifest{}, fmt.Errorf("there is no %s in %s: it is not a package", FileName, dir)
	}
	if err != nil {
		return Manifest{}, fmt.Errorf("cannot read the manifest: %w", err)
	}
	r := read(path, text)
	if len(r.faults) == 0 {
		r.checkFiles(dir)
	}
	return r.manifestOrFaults()
}

// Parse returns the manifest that the text of a plugin.toml is. Errors name it as source. They
// are of the type configs.LoadErrors.
func Parse(source string, text []byte) (Manifest, error) {
	return read(source, text).manifestOrFaults()
}

// Callsigns returns the callsigns of the instances.
func (m Manifest) Callsigns() (callsigns []string) {
	for _, keys := range m.Instances {
		callsigns = append(callsigns, callsignOf(keys))
	}
	return callsigns
}

// callsignOf returns the callsign that the keys of an instance have.
func callsignOf(keys configs.InstanceKeys) string {
	callsign, _ := keys.Values["callsign"].(string)
	return callsign
}

// Plugins returns the instances of the package that is unpacked in dir, with its program for
// this machine, changed and added to by the operator's tables for this package. It checks their
// configuration against the schema. The error wraps ErrPlatform if there is no such program.
func (m Manifest) Plugins(dir string, overlays []configs.Overlay) ([]configs.Plugin, error) {
	if err := m.checkPlatform(Platform()); err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	var plugins []configs.Plugin
	var errs []error
	for _, keys := range m.instances(dir, overlays) {
		p, err := keys.Plugin(nil)
		if err == nil && m.schema != nil {
			err = checkConfiguration(m.schema, p, keys)
		}
		plugins, errs = append(plugins, p), append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return plugins, nil
}

// instances returns the keys of all instances, with absolute paths, and with the program for
// this machine if they have none of their own.
func (m Manifest) instances(dir string, overlays []configs.Overlay) (all []configs.InstanceKeys) {
	used := make(map[string]bool)
	program := make(map[string]any)
	if file, there := m.Programs[Platform()]; there {
		program["executable"] = filepath.Join(dir, file)
	}
	for _, keys := range m.Instances {
		for _, o := range overlays {
			if o.Package == m.Name && strings.EqualFold(o.Callsign, callsignOf(keys)) {
				used[o.Callsign] = true
				keys = o.Keys.Over(keys.In(dir))
			}
		}
		keys = keys.In(dir)
		all = append(all, keys.Over(configs.InstanceKeys{Values: program}))
	}
	for _, o := range overlays {
		if o.Package == m.Name && !used[o.Callsign] {
			callsign := configs.InstanceKeys{Values: map[string]any{"callsign": o.Callsign}}
			all = append(all, o.Keys.Over(callsign).Over(configs.InstanceKeys{Values: program}))
		}
	}
	return all
}

// ErrPlatform means that a package has no program for this machine.
var ErrPlatform = errors.New("the package has no program for this machine")

// CheckFor returns an error if the package can't run on this machine, asks for more than the
// caps allow, or names subsystems that are not among those known here.
func (m Manifest) CheckFor(platform string, caps configs.Caps, subsystems []string) error {
	errs := []error{m.checkPlatform(platform)}
	for _, text := range m.Privileges.Beyond(caps) {
		errs = append(errs, fmt.Errorf("the package asks for %s, which [packages.caps] does not allow", text))
	}
	for _, keys := range m.Instances {
		program := configs.InstanceKeys{Values: map[string]any{"executable": "/"}}
		if _, err := keys.In("/").Over(program).Plugin(subsystems); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// checkFile returns an error if path, below dir, is not a regular file, or one that can't be
// executed although it should.
func checkFile(dir, path string, mayExecute bool) error {
	info, err := os.Stat(filepath.Join(dir, path))
	switch {
	case err != nil:
		return fmt.Errorf("there is no %s in the package", path)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is not a regular file", path)
	case mayExecute && info.Mode().Perm()&0o111 == 0:
		return fmt.Errorf("%s is not executable; make it so with chmod +x", path)
	}
	return nil
}
