package configs

import (
	"cmp"
	"errors"
	"regexp"
	"slices"
	"strings"
)

// LeftOutFile is a drop-in that LoadWithoutBadDropIns left out, with all its plugins. It is
// the directory of the drop-ins if that can't be read.
type LeftOutFile struct {
	Path     string
	Problems LoadErrors // at least one
	// Callsigns are those that could be read from the file, sorted. IsComplete reports
	// whether the file names no others; if not, any callsign may be one of the file's.
	Callsigns  []string
	IsComplete bool
}

// LeftOutFiles are the drop-ins that a configuration lacks.
type LeftOutFiles []LeftOutFile

// String returns what is wrong with the file, and which callsigns are missing for that, in
// one line.
func (f LeftOutFile) String() string {
	return strings.ReplaceAll(f.Problems.Error(), "\n", "; ") + "; " + f.missingText()
}

// Places returns where the faults are, as "file:line, file:line", without their texts.
func (f LeftOutFile) Places() string {
	var places []string
	for _, p := range f.Problems {
		place := p.Source
		if p.Line > 0 {
			place = filePosition{p.Source, p.Line}.String()
		}
		places = append(places, place)
	}
	return strings.Join(slices.Compact(places), ", ")
}

// missingText says which callsigns are missing because the file is left out.
func (f LeftOutFile) missingText() string {
	named := strings.Join(f.Callsigns, ", ")
	switch {
	case f.IsComplete && named == "":
		return "it names no plugin"
	case f.IsComplete:
		return "its plugins are missing: " + named
	case named == "":
		return "its plugins are missing, and their callsigns can't be read"
	}
	return "its plugins are missing: " + named + ", and maybe others"
}

// Names reports whether the callsign could be read from the file. Case does not matter.
func (f LeftOutFile) Names(callsign string) bool {
	return slices.ContainsFunc(f.Callsigns, func(c string) bool { return strings.EqualFold(c, callsign) })
}

// Find returns the file that names the callsign, else one that may, else false. Case does not
// matter.
func (fs LeftOutFiles) Find(callsign string) (LeftOutFile, bool) {
	i := slices.IndexFunc(fs, func(f LeftOutFile) bool { return f.Names(callsign) })
	if i < 0 {
		i = slices.IndexFunc(fs, func(f LeftOutFile) bool { return !f.IsComplete })
	}
	if i < 0 {
		return LeftOutFile{}, false
	}
	return fs[i], true
}

// MayName reports whether one of the files names the callsign, or may do so.
func (fs LeftOutFiles) MayName(callsign string) bool {
	_, found := fs.Find(callsign)
	return found
}

// Callsigns returns the callsigns that could be read from the files.
func (fs LeftOutFiles) Callsigns() (all []string) {
	for _, f := range fs {
		all = append(all, f.Callsigns...)
	}
	return all
}

// LoadWithoutBadDropIns is Load for the start of a host: a drop-in with a fault is left out,
// with all its plugins, and listed in Config.LeftOut. A fault between two files is one of the
// later file. An error says what is wrong elsewhere: in the main file, in the environment,
// in the flags.
func LoadWithoutBadDropIns(path string, getenv func(string) string, flags Overrides) (Config, error) {
	l := readAndCheck(path, getenv, flags)
	l.leaveOutBadDropIns() // before the requirements are checked, which may be those files' plugins
	l.gatherPluginsAndCheckRequires()
	for l.leaveOutBadDropIns() {
		l.gatherPluginsAndCheckRequires()
	}
	if len(l.problems) > 0 { // the host can't start: all is told at once
		for _, f := range l.config.LeftOut {
			l.problems = append(l.problems, f.Problems...)
		}
	}
	return l.configOrProblems()
}

// dropIn is a drop-in as far as it could be read.
type dropIn struct {
	path       string
	plugins    []Plugin
	overlays   []Overlay
	callsigns  []string // without those that are malformed
	isComplete bool     // the file names no other callsigns
	isLeftOut  bool
}

// leaveOutBadDropIns leaves out each drop-in that has a problem, and reports whether there
// were such files.
func (l *configLoad) leaveOutBadDropIns() (found bool) {
	for i := range l.dropIns {
		d := &l.dropIns[i]
		own := slices.DeleteFunc(slices.Clone(l.problems), func(p LoadError) bool { return p.Source != d.path })
		if len(own) == 0 {
			continue
		}
		found, d.isLeftOut = true, true
		l.problems = slices.DeleteFunc(l.problems, func(p LoadError) bool { return p.Source == d.path })
		slices.Sort(d.callsigns)
		l.config.LeftOut = append(l.config.LeftOut, LeftOutFile{d.path, own.SortInPlace(), slices.Compact(d.callsigns), d.isComplete})
	}
	return found
}

// gatherPlugins puts the plugins of the main file and of the drop-ins that are not left out
// into the configuration.
func (l *configLoad) gatherPlugins() {
	l.config.Plugins = slices.Clone(l.mainPlugins)
	l.config.Overlays = slices.Clone(l.mainOverlays)
	for _, d := range l.dropIns {
		if !d.isLeftOut {
			l.config.Plugins = append(l.config.Plugins, d.plugins...)
			l.config.Overlays = append(l.config.Overlays, d.overlays...)
		}
	}
}

// gatherPluginsAndCheckRequires gathers the plugins, and reports what they require in vain,
// anew at each call: each in the file that has it, a circle in the last file of the circle,
// and nothing that a left out file may name.
func (l *configLoad) gatherPluginsAndCheckRequires() {
	l.gatherPlugins()
	l.problems = slices.DeleteFunc(l.problems, func(p LoadError) bool {
		_, isAboutRequires := errors.AsType[*RequiresError](p.Err)
		return isAboutRequires
	})
	l.config.Awaited = nil
	for _, err := range CheckRequires(l.config.Plugins) {
		at := l.positionOf(err.Callsign)
		switch {
		case err.Missing == "":
		case l.config.LeftOut.MayName(err.Missing) || l.config.hasOverlay(err.Missing):
			continue
		case l.config.packageMayHave(err.Missing):
			l.config.Awaited.Add(at.path, at.line, &AwaitedError{err})
			continue
		}
		for _, callsign := range err.Circle {
			at = l.laterPosition(at, l.positionOf(callsign))
		}
		l.problems.Add(at.path, at.line, err)
	}
}

// packageMayHave reports whether an instance of a package can have that callsign, which no plugin
// of the files has: none has it in other case.
func (c Config) packageMayHave(callsign string) bool {
	return !slices.ContainsFunc(c.Plugins, func(p Plugin) bool { return strings.EqualFold(p.Callsign, callsign) })
}

// hasOverlay reports whether an instance of a package has that callsign according to a
// [[plugin]] with the key "package".
func (c Config) hasOverlay(callsign string) bool {
	return slices.ContainsFunc(c.Overlays, func(o Overlay) bool { return o.Callsign == callsign })
}

// positionOf returns where the plugin of that callsign is configured.
func (l *configLoad) positionOf(callsign string) filePosition {
	return l.callsigns[strings.ToLower(callsign)]
}

// laterPosition returns the one of two positions whose file was read later, a if both are in
// one file.
func (l *configLoad) laterPosition(a, b filePosition) filePosition {
	readAt := func(p filePosition) int {
		return slices.IndexFunc(l.dropIns, func(d dropIn) bool { return d.path == p.path }) // -1 for the main file
	}
	if cmp.Compare(readAt(b), readAt(a)) > 0 {
		return b
	}
	return a
}

// callsignLine matches a line that gives a plugin its callsign.
var callsignLine = regexp.MustCompile(`(?m)^[ \t]*callsign[ \t]*=[ \t]*["']([^"'\n]*)["']`)

// guessCallsigns returns the callsigns in a text that need not be valid TOML, as far as their
// lines can be read.
func guessCallsigns(text []byte) (callsigns []string) {
	for _, match := range callsignLine.FindAllSubmatch(text, -1) {
		if callsign := string(match[1]); CheckCallsign(callsign) == nil {
			callsigns = append(callsigns, callsign)
		}
	}
	return callsigns
}
