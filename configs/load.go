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

// DefaultPath is the main file where the operator names none.
const DefaultPath = "/etc/dormouse/dormouse.toml"

const (
	dropInDir = "plugins.d" // beside the main file
	sizeLimit = 1 << 20
)

// Overrides are settings given as flags; an empty one was not given.
type Overrides struct {
	// Root moves everything below it: the state, the images and, unless it is
	// overridden itself, the communicator to <root>/run/communicator.
	Root string

	Listen       string
	Communicator string
	Criu         string
	LogLevel     string
	LogFormat    string
}

// Load reads the main file and the plugins.d/*.toml beside it in lexical order,
// then applies the environment and, last and strongest, the flags. An empty path
// means DefaultPath, which alone may be missing. getenv is os.Getenv or a stand-in;
// nil reads no environment.
//
// Relative paths start from the directory of the file that names them, or from
// the working directory if given as flag or in the environment. An error is
// always LoadErrors: everything that is wrong, never only the first thing.
func Load(path string, getenv func(string) string, flags Overrides) (Config, error) {
	l := &load{config: Default(), callsigns: make(map[string]spot)}
	if path == "" {
		l.main(DefaultPath, true)
	} else {
		l.main(path, false)
	}
	l.override(getenv, flags)
	l.checkRequires()
	if len(l.problems) > 0 {
		return Config{}, l.problems.sorted()
	}
	if l.config.Hibernate.Dir == "" {
		l.config.Hibernate.Dir = filepath.Join(l.config.Host.Root, "images")
	}
	return l.config, nil
}

// checkRequires reports each at the plugin whose requirement it is.
func (l *load) checkRequires() {
	for _, err := range CheckRequires(l.config.Plugins) {
		at := l.callsigns[strings.ToLower(err.Callsign)]
		l.problems.add(at.path, at.line, err)
	}
}

// load is one load under way.
type load struct {
	config    Config
	problems  LoadErrors
	callsigns map[string]spot // in lower case → where the plugin that has it stands
}

// spot is a line of a file.
type spot struct {
	path string
	line int
}

func (s spot) String() string { return fmt.Sprintf("%s:%d", s.path, s.line) }

// main reads the main file and its drop-ins.
func (l *load) main(path string, mayMiss bool) {
	_, err := os.Stat(path)
	if !mayMiss || !errors.Is(err, fs.ErrNotExist) {
		l.read(path, false)
	}
	dir := filepath.Join(filepath.Dir(path), dropInDir)
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		l.problems.add(dir, 0, cannotRead(err))
	}
	for _, entry := range entries {
		// Editors leave hidden files behind.
		if name := entry.Name(); strings.HasSuffix(name, ".toml") && !strings.HasPrefix(name, ".") {
			l.read(filepath.Join(dir, name), true)
		}
	}
}

func (l *load) read(path string, dropIn bool) {
	text, err := readFile(path)
	if err != nil {
		l.problems.add(path, 0, cannotRead(err))
		return
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		l.problems.add(path, 0, cannotRead(err))
		return
	}
	f := &file{load: l, path: path, dir: dir, dropIn: dropIn}
	f.decode(text)
}

// readFile looks before it opens, for opening a pipe would wait for a writer.
func readFile(path string) ([]byte, error) {
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

// cannotRead drops the path from the error of a system call: the problem names it.
func cannotRead(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathError.Err
	}
	return fmt.Errorf("cannot read: %w", err)
}

// override applies what was given outside the files, flag before variable.
func (l *load) override(getenv func(string) string, flags Overrides) {
	host := &l.config.Host
	settings := []struct {
		flag, value, variable string
		apply                 func(value string) error
	}{
		{"--root", flags.Root, "DORMOUSE_ROOT", l.moveTo},
		{"--listen", flags.Listen, "DORMOUSE_LISTEN", func(v string) error {
			host.Listen = v
			return checkListen(v)
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
			return oneOf(v, logLevels)
		}},
		{"--log-format", flags.LogFormat, "DORMOUSE_LOG_FORMAT", func(v string) error {
			host.LogFormat = v
			return oneOf(v, logFormats)
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

// moveTo puts all that the host keeps below one directory, whatever the files
// say, so that two hosts with different roots never share a thing.
func (l *load) moveTo(root string) error {
	root, err := filepath.Abs(root)
	l.config.Host.Root = root
	l.config.Host.Communicator = filepath.Join(root, "run", "communicator")
	l.config.Hibernate.Dir = ""
	return err
}
