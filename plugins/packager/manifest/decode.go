package manifest

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"dormouse/configs"
	"dormouse/internal/regularfile"
	"dormouse/internal/schema"
	"dormouse/internal/tomltable"
)

// reading is a manifest while it is read.
type reading struct {
	manifest Manifest
	faults   configs.LoadErrors
	top      *tomltable.Table

	plugins   []configs.Plugin   // that the tables [[instance]] describe
	instances []*tomltable.Table // and these tables
	types     []declaredType
}

// read reads the text of a plugin.toml, and notes what is wrong.
func read(source string, text []byte) *reading {
	r := &reading{}
	var ok bool
	if r.top, ok = (&tomltable.File{Path: source, Dir: "/", Faults: &r.faults}).Decode(text); !ok {
		return r
	}
	m := &r.manifest
	r.top.ReadText("name", &m.Name, configs.CheckPackageName)
	r.top.ReadText("version", &m.Version, checkVersion)
	r.top.ReadText("description", &m.Description, checkLine)
	r.readTypes()
	r.readProfile()
	r.readPrograms(r.top.Table("program", "in [program]", "a table, written [program]"))
	r.top.ReadText("schema", &m.SchemaFile, checkLocal)
	r.top.ReadInteger("data", &m.Data, 0, math.MaxInt32)
	for _, t := range r.top.Tables("instance", "in [[instance]]", "a list of tables, each written [[instance]]") {
		r.readInstance(t)
	}
	for _, t := range r.top.Tables("flow", "in [[flow]]", "a list of tables, each written [[flow]]") {
		r.readFlow(t)
	}
	r.readPrivileges(r.top.Table("privileges", "in [privileges]", "a table, written [privileges]"))
	r.top.ReportMissingKeys("name", "version")
	if !r.top.Has("program") && (len(m.Instances) == 0 || slices.ContainsFunc(m.Instances, m.lacksExecutable)) {
		r.top.AddProblem("program", `the table [program] is missing, with a path for each platform, such as %s = "bin/%s"`, Platform(), m.Name)
	}
	r.top.ReportUnknownKeys()
	return r
}

// manifestOrFaults returns the manifest, or all that is wrong with it.
func (r *reading) manifestOrFaults() (Manifest, error) {
	if len(r.faults) > 0 {
		return Manifest{}, r.faults.SortInPlace()
	}
	return r.manifest, nil
}

// readTypes reads the keys "provides" and "uses".
func (r *reading) readTypes() {
	var provides, uses []string
	r.top.ReadTextList("provides", &provides, func(text string) error {
		kind, version, _ := strings.Cut(text, " ")
		return errors.Join(checkType(kind, text), checkVersion(version))
	})
	r.top.ReadTextList("uses", &uses, func(text string) error {
		kind, ranges, _ := strings.Cut(text, " ")
		return errors.Join(checkType(kind, text), checkRange(ranges))
	})
	for _, text := range provides {
		kind, version, _ := strings.Cut(text, " ")
		if slices.ContainsFunc(r.manifest.Provides, func(p Provided) bool { return p.Type == kind }) {
			r.top.AddProblem("provides", "key \"provides\" %s names the type %q twice", r.top.Name, kind)
		}
		r.manifest.Provides = append(r.manifest.Provides, Provided{kind, version})
	}
	for _, text := range uses {
		kind, ranges, _ := strings.Cut(text, " ")
		r.manifest.Uses = append(r.manifest.Uses, Used{kind, strings.TrimSpace(ranges)})
	}
}

// readPrograms reads the table [program].
func (r *reading) readPrograms(t *tomltable.Table) {
	for platform := range t.Values() {
		var file string
		t.ReadText(platform, &file, checkLocal)
		if !platformForm.MatchString(platform) {
			t.AddProblem(platform, "key %q %s is not a platform such as %q", platform, t.Name, Platform())
		}
		if file != "" {
			if r.manifest.Programs == nil {
				r.manifest.Programs = make(map[string]string)
			}
			r.manifest.Programs[platform] = path.Clean(file)
		}
	}
}

// readInstance reads a table [[instance]].
func (r *reading) readInstance(t *tomltable.Table) {
	keys, plugin := configs.ReadInstanceKeys(t)
	for _, key := range []string{"executable", "web-ui", "data"} {
		text, isText := keys.Values[key].(string)
		if !isText || text == "" {
			continue
		}
		if err := checkLocal(text); err != nil {
			t.AddProblem(key, "key %q %s: %w", key, t.Name, err)
		}
		keys.Values[key] = "./" + path.Clean(text) // a name alone is not looked for in PATH
	}
	if slices.ContainsFunc(r.plugins, func(p configs.Plugin) bool { return strings.EqualFold(p.Callsign, plugin.Callsign) }) {
		t.AddProblem("callsign", "key \"callsign\" %s: another instance of the package is %q", t.Name, plugin.Callsign)
	}
	r.manifest.Instances = append(r.manifest.Instances, keys)
	r.plugins, r.instances = append(r.plugins, plugin), append(r.instances, t)
}

// readFlow reads a table [[flow]]. The instances must have been read.
func (r *reading) readFlow(t *tomltable.Table) {
	flow := configs.ReadFlow(t)
	switch i := slices.IndexFunc(r.plugins, func(p configs.Plugin) bool { return strings.EqualFold(p.Callsign, flow.Instance) }); {
	case len(r.plugins) == 0:
		t.AddProblem("", "a [[flow]] needs an [[instance]]")
	case flow.Instance == "":
		flow.Instance = r.plugins[0].Callsign
	case i < 0:
		t.AddProblem("instance", "key \"instance\" %s: no [[instance]] of the package is %q", t.Name, flow.Instance)
	default:
		flow.Instance = r.plugins[i].Callsign
	}
	if slices.ContainsFunc(r.manifest.Flows, func(f configs.Flow) bool { return strings.EqualFold(f.Name, flow.Name) }) {
		t.AddProblem("name", "key \"name\" %s: another flow of the package is %q", t.Name, flow.Name)
	}
	r.manifest.Flows = append(r.manifest.Flows, flow)
}

// readPrivileges reads the table [privileges], which must cover what the instances ask for.
// Without it that is what the package asks for.
func (r *reading) readPrivileges(t *tomltable.Table) {
	var declared Privileges
	configs.ReadLimits(t, &declared.Limits)
	t.ReadTextList("environment", &declared.Environment)
	t.ReadTextList("subsystems", &declared.Subsystems, checkSubsystem)
	t.ReportUnknownKeys()
	declared.Environment, declared.Subsystems = sortedUnique(declared.Environment), sortedUnique(declared.Subsystems)
	if r.top.Has("privileges") {
		r.manifest.Privileges = declared
		for i, p := range r.plugins {
			for _, text := range (Privileges{}).with(p, true).MoreThan(declared) {
				r.instances[i].AddProblem("", "the instance %s asks for %s, which [privileges] does not have", p.Callsign, text)
			}
		}
		return
	}
	for i, p := range r.plugins {
		r.manifest.Privileges = r.manifest.Privileges.with(p, i == 0)
	}
}

// checkFiles reports what the manifest names and is not in the package, and reads the schema.
func (r *reading) checkFiles(dir string) {
	m := &r.manifest
	for platform, file := range m.Programs {
		if err := checkFile(dir, file, true); err != nil {
			r.top.AddProblem("program", "key %q in [program]: %w", platform, err)
		}
	}
	for i, p := range r.instances {
		keys := m.Instances[i].Values
		if file, ok := keys["executable"].(string); ok {
			if err := checkFile(dir, file, true); err != nil {
				p.AddProblem("executable", "key \"executable\" %s: %w", p.Name, err)
			}
		}
		for _, key := range []string{"web-ui", "data"} {
			if below, ok := keys[key].(string); ok && below != "" {
				if info, err := os.Stat(filepath.Join(dir, below)); err != nil || !info.IsDir() {
					p.AddProblem(key, "key %q %s: there is no directory %s in the package", key, p.Name, path.Clean(below))
				}
			}
		}
	}
	r.readTypeSchemas(dir)
	if m.SchemaFile == "" {
		return
	}
	text, err := regularfile.Read(filepath.Join(dir, m.SchemaFile), maxSize)
	if err == nil {
		m.schema, err = schema.Compile(text)
	}
	if err != nil {
		r.top.AddProblem("schema", "key \"schema\" %s: %s: %w", r.top.Name, m.SchemaFile, err)
	}
}

// checkVersion returns an error if the text is not a semantic version.
func checkVersion(text string) error {
	if _, err := semver.StrictNewVersion(text); err != nil {
		return fmt.Errorf(`%q is not a version such as "1.2.3" or "2.0.0-rc.1"`, text)
	}
	return nil
}

// checkRange returns an error if the text is not a range of versions.
func checkRange(text string) error {
	if _, err := semver.NewConstraint(text); err != nil || strings.TrimSpace(text) == "" {
		return fmt.Errorf(`%q is not a range of versions such as "^1.2" or ">=1.0, <3"`, text)
	}
	return nil
}

var typeForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,127}$`)

// checkType returns an error if kind is not the name of a type of plugins.
func checkType(kind, text string) error {
	if !typeForm.MatchString(kind) {
		return fmt.Errorf(`%q is not a type and its version, separated by a space, such as "counter 1.2.0"`, text)
	}
	return nil
}

// checkLine returns an error if the text has more than a line.
func checkLine(text string) error {
	if strings.ContainsAny(text, "\n\r") || len(text) > 500 {
		return errors.New("it must be one line of at most 500 bytes")
	}
	return nil
}

// checkLocal returns an error if the path is not one of a file in the package.
func checkLocal(file string) error {
	if !filepath.IsLocal(file) || path.Clean(file) == "." {
		return fmt.Errorf("%q is not the relative path of something in the package", file)
	}
	return nil
}

// checkSubsystem returns an error if no subsystem can have the name.
func checkSubsystem(name string) error {
	if slices.Contains(configs.Subsystems, name) {
		return nil
	}
	return configs.CheckNewSubsystem(name)
}
