package configs

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"dormouse/internal/regularfile"
	"dormouse/internal/tamper"
	"dormouse/internal/tomltable"
)

// DefaultPath is the path of the main configuration file unless the operator names another.
const DefaultPath = "/etc/dormouse/dormouse.toml"

const (
	dropInDir = "plugins.d" // in the directory of the main file
	sizeLimit = 1 << 20
)

// Overrides are the settings that the operator gave as flags, "" for a flag not given.
type Overrides struct {
	// Root is the directory for the host's state and images. The communicator's socket is
	// then <root>/run/communicator, unless Communicator is given too.
	Root string

	Listen       string
	Communicator string
	Criu         string
	LogLevel     string
	LogFormat    string
	PluginSource string
}

// Load reads the main file and then, in lexical order, the plugins.d/*.toml beside the main
// file. The environment overrides the files, and the flags override both. An empty path
// means DefaultPath, the only file that may be missing. getenv is os.Getenv or replaces it
// in a test; nil means that no environment is read.
//
// Relative paths start from the directory of the file that names them, or from the
// working directory if given as flag or in the environment. An error is always of the
// type LoadErrors, with all faults of the configuration.
func Load(path string, getenv func(string) string, flags Overrides) (Config, error) {
	l := readAndCheck(path, getenv, flags)
	l.gatherPluginsAndCheckRequires()
	return l.configOrProblems()
}

// readAndCheck reads all files, the environment and the flags, and checks all but what the
// plugins require of each other.
func readAndCheck(path string, getenv func(string) string, flags Overrides) *configLoad {
	l := &configLoad{config: Default(), callsigns: make(map[string]filePosition), origins: make(Origins)}
	l.readMainAndDropIns(cmp.Or(path, DefaultPath), path == "")
	l.applyFlagsAndEnvironment(getenv, flags)
	l.reportFilesOfOthers(cmp.Or(path, DefaultPath))
	l.reportExposure()
	l.reportQHAnaWithoutURL()
	return l
}

// configOrProblems returns the configuration, or all problems if there are any.
func (l *configLoad) configOrProblems() (Config, error) {
	if len(l.problems) > 0 {
		return Config{}, l.problems.SortInPlace()
	}
	if l.config.Hibernate.Dir == "" {
		l.config.Hibernate.Dir = filepath.Join(l.config.Host.Root, "images")
	}
	return l.config, nil
}

// configLoad is what one call of Load has read and found wrong so far.
type configLoad struct {
	config       Config // without the plugins until they are gathered
	mainPlugins  []Plugin
	mainOverlays []Overlay
	dropIns      []dropIn // in the order in which they were read
	problems     LoadErrors
	references   []Reference
	origins      Origins
	callsigns    map[string]filePosition // where each plugin is configured, by callsign in lower case
	// listenAt is where Host.Listen is configured, and listenersAt where each of Listeners.
	listenAt    filePosition
	listenersAt []filePosition
	qhanaAt     filePosition
}

// filePosition is a line of a file.
type filePosition struct {
	path string
	line int
}

// String returns the position as "path:line".
func (p filePosition) String() string { return fmt.Sprintf("%s:%d", p.path, p.line) }

// readMainAndDropIns reads the main file at path, and the files *.toml in the directory
// plugins.d beside it. A missing main file is an error unless mainMayBeMissing is true.
func (l *configLoad) readMainAndDropIns(path string, mainMayBeMissing bool) {
	_, err := os.Stat(path)
	if !mainMayBeMissing || !errors.Is(err, fs.ErrNotExist) {
		f := l.readFile(path, false)
		l.mainPlugins, l.mainOverlays = f.plugins, f.overlays
	}
	dir := filepath.Join(filepath.Dir(path), dropInDir)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.problems.Add(dir, 0, cannotReadError(err))
		l.dropIns = append(l.dropIns, dropIn{path: dir})
	}
	for _, entry := range entries {
		// Hidden files are skipped, because editors leave such files behind.
		if name := entry.Name(); strings.HasSuffix(name, ".toml") && !strings.HasPrefix(name, ".") {
			l.readDropIn(filepath.Join(dir, name))
		}
	}
}

// readDropIn reads one drop-in.
func (l *configLoad) readDropIn(path string) {
	f := l.readFile(path, true)
	l.dropIns = append(l.dropIns, dropIn{path: path, plugins: f.plugins, overlays: f.overlays, callsigns: f.named, isComplete: f.isComplete})
}

// reportFilesOfOthers reports each file of the configuration that other users could change,
// and the directory of the drop-ins if they could add one.
func (l *configLoad) reportFilesOfOthers(mainPath string) {
	guard := tamper.GuardFor(l.config.Host.Root)
	paths := []string{mainPath, filepath.Join(filepath.Dir(mainPath), dropInDir)}
	for _, d := range l.dropIns {
		paths = append(paths, d.path)
	}
	for _, path := range paths {
		if err := guard.Check(path); err != nil {
			l.problems.Add(path, 0, err)
		}
	}
}

// readFile reads one configuration file, all but its plugins into the configuration, and
// reports a file that it cannot read.
func (l *configLoad) readFile(path string, isDropIn bool) *configFile {
	f := &configFile{configLoad: l, path: path, dropIn: isDropIn}
	text, err := readSmallFile(path)
	if err == nil {
		f.dir, err = filepath.Abs(filepath.Dir(path))
	}
	if err != nil {
		l.problems.Add(path, 0, cannotReadError(err))
		return f
	}
	f.decode(text)
	return f
}

// readSmallFile returns the contents of a regular file of at most 1 MiB.
func readSmallFile(path string) ([]byte, error) {
	text, err := regularfile.Read(path, sizeLimit)
	if err == nil {
		return text, nil
	}
	if info, serr := os.Stat(path); serr == nil && info.IsDir() {
		return nil, errors.New("it is a directory")
	}
	return nil, err
}

// cannotReadError returns "cannot read: " and the error of opening or reading a file, without
// the path, because LoadError names the path already.
func cannotReadError(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathError.Err
	}
	return fmt.Errorf("cannot read: %w", err)
}

// applyFlagsAndEnvironment applies the settings that were given as flags or environment
// variables. A flag overrides the variable of the same setting. An invalid value is
// reported.
func (l *configLoad) applyFlagsAndEnvironment(getenv func(string) string, flags Overrides) {
	host := &l.config.Host
	settings := []struct {
		flag, value, variable string
		keys                  []string // that it sets
		apply                 func(value string) error
	}{
		{"--root", flags.Root, "DORMOUSE_ROOT", []string{"host.root", "host.communicator", "host.control", "hibernate.dir"}, l.setPathsBelowRoot},
		{"--listen", flags.Listen, "DORMOUSE_LISTEN", []string{"host.listen"}, func(v string) error {
			host.Listen = v
			l.listenAt = filePosition{path: "--listen or DORMOUSE_LISTEN"}
			return checkAddress(v)
		}},
		{"--communicator", flags.Communicator, "DORMOUSE_COMMUNICATOR", []string{"host.communicator"}, func(v string) (err error) {
			host.Communicator, err = filepath.Abs(v)
			return err
		}},
		{"--criu", flags.Criu, "DORMOUSE_CRIU", []string{"hibernate.criu"}, func(v string) (err error) {
			if strings.Contains(v, "/") {
				v, err = filepath.Abs(v)
			}
			l.config.Hibernate.Criu = v
			return err
		}},
		{"--log-level", flags.LogLevel, "DORMOUSE_LOG_LEVEL", []string{"host.log-level"}, func(v string) error {
			host.LogLevel = v
			return tomltable.CheckOneOf(v, logLevels)
		}},
		{"--log-format", flags.LogFormat, "DORMOUSE_LOG_FORMAT", []string{"host.log-format"}, func(v string) error {
			host.LogFormat = v
			return tomltable.CheckOneOf(v, logFormats)
		}},
		{"--plugin-source", flags.PluginSource, "DORMOUSE_PLUGIN_SOURCE", []string{"packages.source"}, func(v string) error {
			l.config.Packages.Source = PackageSource(v)
			return tomltable.CheckOneOf(l.config.Packages.Source, []PackageSource{SourceDatabase, SourceFilesystem})
		}},
	}
	for _, s := range settings {
		source, value := s.flag, s.value
		if value == "" && getenv != nil {
			source, value = s.variable, getenv(s.variable)
		}
		if value == "" {
			continue
		}
		if err := s.apply(value); err != nil {
			l.problems.Add(source, 0, err)
		}
		for _, key := range s.keys {
			l.origins[key] = source
		}
	}
}

// setPathsBelowRoot configures the paths of the state, the images and both unix sockets
// below root, whatever the configuration files say, so that two hosts with different
// roots share none.
func (l *configLoad) setPathsBelowRoot(root string) error {
	root, err := filepath.Abs(root)
	l.config.Host.Root = root
	l.config.Host.Communicator = filepath.Join(root, "run", "communicator")
	l.config.Host.Control = ""
	l.config.Hibernate.Dir = ""
	return err
}
