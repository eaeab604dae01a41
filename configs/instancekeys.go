package configs

import (
	"maps"
	"path/filepath"
	"strings"

	"dormouse/internal/tomltable"
)

// InstanceKeys are the keys of one instance as a file sets them, without defaults: of a table
// [[instance]] of a package, or of an operator's [[plugin]] that changes such an instance.
type InstanceKeys struct {
	Values map[string]any // as the TOML library reads them
	Source string         // the file that set the keys last, and the line of its table there
	Line   int
}

// Overlay is a table [[plugin]] with the key "package": its keys count instead of those of the
// package's instance of that callsign. If the package has no such instance, it gets one.
type Overlay struct {
	Package  string
	Callsign string
	Keys     InstanceKeys // without package and callsign; paths are absolute
}

// pathKeys are the keys of an instance whose values are paths.
var pathKeys = []string{"executable", "web-ui", "data"}

// ReadInstanceKeys returns the keys of a table [[instance]] of a package, and the instance that
// they describe. Wrong keys and values are added to the faults of the table's file. Any
// subsystem is accepted that an operator could define.
func ReadInstanceKeys(table *tomltable.Table) (InstanceKeys, Plugin) {
	f := &configFile{configLoad: &configLoad{}, path: table.File().Path, dir: table.File().Dir, anySubsystem: true}
	t := &tableReader{table, f}
	p := DefaultPlugin()
	f.readInstance(t, &p)
	if t.Has("builtin") {
		t.AddProblem("builtin", `key "builtin" %s does not go with a package, which has programs`, t.Name)
	}
	t.ReportMissingKeys("callsign")
	t.ReportUnknownKeys()
	return InstanceKeys{Values: maps.Clone(table.Values()), Source: f.path, Line: t.Line("")}, p
}

// In returns the keys with relative paths made absolute: they start from dir.
func (k InstanceKeys) In(dir string) InstanceKeys {
	k.Values = maps.Clone(k.Values)
	for _, key := range pathKeys {
		if path, ok := k.Values[key].(string); ok && path != "" && (key != "executable" || strings.Contains(path, "/")) {
			k.Values[key] = absolutePath(dir, path)
		}
	}
	return k
}

// Over returns the keys of both. A key that both have is as k says; tables are merged key by
// key in the same way.
func (k InstanceKeys) Over(base InstanceKeys) InstanceKeys {
	k.Values = mergedTable(base.Values, k.Values)
	return k
}

// Plugin returns the instance that has these keys, and defaults for all others. Paths must be
// absolute. The subsystems that it names must be among those that are known, nil for any. An
// error is of the type LoadErrors.
func (k InstanceKeys) Plugin(subsystems []string) (Plugin, error) {
	var faults LoadErrors
	f := &configFile{configLoad: &configLoad{}, path: k.Source, dir: "/", anySubsystem: subsystems == nil, subsystems: subsystems}
	t := &tableReader{tomltable.NewTable(&tomltable.File{Path: k.Source, Dir: "/", Faults: &faults}, "in the instance", k.Line, k.Values), f}
	p := DefaultPlugin()
	f.readInstance(t, &p)
	t.ReportMissingKeys("callsign", "executable")
	t.ReportUnknownKeys()
	if len(faults) > 0 {
		return Plugin{}, faults.SortInPlace()
	}
	return p, nil
}

// mergedTable returns a table with the keys of both. Where both have a table it merges these,
// elsewhere the value of over counts.
func mergedTable(base, over map[string]any) map[string]any {
	merged := maps.Clone(base)
	if merged == nil {
		merged = make(map[string]any, len(over))
	}
	for key, value := range over {
		inner, isTable := value.(map[string]any)
		if below, both := merged[key].(map[string]any); isTable && both {
			value = mergedTable(below, inner)
		}
		merged[key] = value
	}
	return merged
}

// absolutePath returns the path, which starts from dir if it is relative.
func absolutePath(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// readOverlay reads a table [[plugin]] that has the key "package".
func (f *configFile) readOverlay(t *tableReader) {
	o := Overlay{}
	p := DefaultPlugin()
	t.ReadText("package", &o.Package, CheckPackageName)
	f.readInstance(t, &p)
	for _, key := range []string{"executable", "builtin"} {
		if t.Has(key) {
			t.AddProblem(key, `key %q %s does not go with "package": the package has the program`, key, t.Name)
		}
	}
	t.ReportMissingKeys("callsign")
	t.ReportUnknownKeys()
	f.claimOrReportCallsign(t, p.Callsign)
	o.Callsign = p.Callsign
	o.Keys = InstanceKeys{Values: maps.Clone(t.Values()), Source: f.path, Line: t.Line("")}.In(f.dir)
	delete(o.Keys.Values, "package")
	delete(o.Keys.Values, "callsign")
	f.overlays = append(f.overlays, o)
}
