package configs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// DefaultPath is the main file if the operator names none.
const DefaultPath = "/etc/dormouse/dormouse.toml"

const (
	dropInDir = "plugins.d" // in the directory of the main file
	sizeLimit = 1 << 20
)

// Overrides are settings given as flags, "" for a flag that was not given.
type Overrides struct {
	// Root moves the state and the images below it, and the communicator to
	// <root>/run/communicator unless that is overridden itself.
	Root string

	Listen       string
	Communicator string
	Criu         string
	LogLevel     string
	LogFormat    string
}

// Load reads the main file and then, in lexical order, the plugins.d/*.toml beside it.
// It then applies the environment and, as the strongest, the flags. An empty path means
// DefaultPath, the only file that may be missing. getenv is os.Getenv or a stand-in;
// nil reads no environment.
//
// Relative paths start from the directory of the file that names them, or from the
// working directory if given as flag or in the environment. An error is always
// LoadErrors, with all faults.
func Load(path string, getenv func(string) string, flags Overrides) (Config, error) {
	l := &configLoad{config: Default(), callsigns: make(map[string]filePosition)}
	if path == "" {
		l.readMainAndDropIns(DefaultPath, true)
	} else {
		l.readMainAndDropIns(path, false)
	}
	l.applyOverrides(getenv, flags)
	l.checkRequires()
	if len(l.problems) > 0 {
		return Config{}, l.problems.sorted()
	}
	if l.config.Hibernate.Dir == "" {
		l.config.Hibernate.Dir = filepath.Join(l.config.Host.Root, "images")
	}
	return l.config, nil
}

// checkRequires reports each unmet requirement at the plugin that has it.
func (l *configLoad) checkRequires() {
	for _, err := range CheckRequires(l.config.Plugins) {
		at := l.callsigns[strings.ToLower(err.Callsign)]
		l.problems.add(at.path, at.line, err)
	}
}

// configLoad is one run of Load.
type configLoad struct {
	config    Config
	problems  LoadErrors
	callsigns map[string]filePosition // by callsign in lower case: where its plugin is configured
}

// filePosition is a line of a file.
type filePosition struct {
	path string
	line int
}

func (s filePosition) String() string { return fmt.Sprintf("%s:%d", s.path, s.line) }

// readMainAndDropIns reads the main file and the files in plugins.d beside it. mayMiss
// allows that there is no main file.
func (l *configLoad) readMainAndDropIns(path string, mayMiss bool) {
	_, err := os.Stat(path)
	if !mayMiss || !errors.Is(err, fs.ErrNotExist) {
		l.readFile(path, false)
	}
	dir := filepath.Join(filepath.Dir(path), dropInDir)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.problems.add(dir, 0, readErrorWithoutPath(err))
	}
	for _, entry := range entries {
		// Editors leave hidden files behind.
		if name := entry.Name(); strings.HasSuffix(name, ".toml") && !strings.HasPrefix(name, ".") {
			l.readFile(filepath.Join(dir, name), true)
		}
	}
}

// readFile decodes one file into the configuration.
func (l *configLoad) readFile(path string, dropIn bool) {
	text, err := readRegularFile(path)
	if err != nil {
		l.problems.add(path, 0, readErrorWithoutPath(err))
		return
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		l.problems.add(path, 0, readErrorWithoutPath(err))
		return
	}
	f := &configFile{configLoad: l, path: path, dir: dir, dropIn: dropIn}
	f.decode(text)
}

// readRegularFile returns the contents of a file of at most 1 MiB. It checks the kind
// of file first, because opening a pipe would wait for a writer.
func readRegularFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.IsDir() {
		return nil, errors.New("it is a directory")
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, sizeLimit+1))
	if err != nil {
		return nil, err
	}
	if len(text) > sizeLimit {
		return nil, errors.New("it is larger than 1 MiB")
	}
	return text, nil
}

// readErrorWithoutPath wraps an error without the path in it, because the problem names the path.
func readErrorWithoutPath(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathError.Err
	}
	return fmt.Errorf("cannot read: %w", err)
}

// applyOverrides applies the settings given outside of files: for each the flag, else
// the variable.
func (l *configLoad) applyOverrides(getenv func(string) string, flags Overrides) {
	host := &l.config.Host
	settings := []struct {
		flag, value, variable string
		apply                 func(value string) error
	}{
		{"--root", flags.Root, "DORMOUSE_ROOT", l.moveFilesBelowRoot},
		{"--listen", flags.Listen, "DORMOUSE_LISTEN", func(v string) error {
			host.Listen = v
			return checkLoopbackAddress(v)
		}},
		{"--communicator", flags.Communicator, "DORMOUSE_COMMUNICATOR", func(v string) (err error) {
			host.Communicator, err = filepath.Abs(v)
			return err
		}},
		{"--criu", flags.Criu, "DORMOUSE_CRIU", func(v string) (err error) {
			if strings.Contains(v, "/") {
				v, err = filepath.Abs(v)
			}
			l.config.Hibernate.Criu = v
			return err
		}},
		{"--log-level", flags.LogLevel, "DORMOUSE_LOG_LEVEL", func(v string) error {
			host.LogLevel = v
			return checkOneOf(v, logLevels)
		}},
		{"--log-format", flags.LogFormat, "DORMOUSE_LOG_FORMAT", func(v string) error {
			host.LogFormat = v
			return checkOneOf(v, logFormats)
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
			l.problems.add(source, 0, err)
		}
	}
}

// moveFilesBelowRoot puts all files of the host below one directory, whatever the configuration
// files say, so that two hosts with different roots share no file.
func (l *configLoad) moveFilesBelowRoot(root string) error {
	root, err := filepath.Abs(root)
	l.config.Host.Root = root
	l.config.Host.Communicator = filepath.Join(root, "run", "communicator")
	l.config.Hibernate.Dir = ""
	return err
}
