package configs_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
)

// environment stands in for os.Getenv.
func environment(variables map[string]string) func(string) string {
	return func(name string) string { return variables[name] }
}

func TestPrecedence(t *testing.T) {
	const main = `
[host]
root = "/main"
listen = "127.0.0.1:1"
communicator = "/main-run/c"
log-level = "debug"
[hibernate]
criu = "/main/criu"
dir = "/main-images"
`
	all := map[string]string{
		"DORMOUSE_ROOT":         "/env",
		"DORMOUSE_LISTEN":       "127.0.0.1:2",
		"DORMOUSE_COMMUNICATOR": "/env-run/c",
		"DORMOUSE_CRIU":         "env-criu",
		"DORMOUSE_LOG_LEVEL":    "warn",
		"DORMOUSE_LOG_FORMAT":   "json",
	}
	workDir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name      string
		main      string
		variables map[string]string
		flags     configs.Overrides
		want      configs.Host
		criu, dir string
	}{{
		name: "main over defaults",
		main: main,
		want: configs.Host{Root: "/main", Listen: "127.0.0.1:1", Communicator: "/main-run/c", LogLevel: "debug", LogFormat: "auto"},
		criu: "/main/criu", dir: "/main-images",
	}, {
		name: "a root in the file takes the images along",
		main: "[host]\nroot = \"/main\"",
		want: configs.Host{Root: "/main", Listen: "127.0.0.1:9998", Communicator: "/run/dormouse/communicator", LogLevel: "info", LogFormat: "auto"},
		dir:  "/main/images",
	}, {
		name:      "environment over main",
		main:      main,
		variables: all,
		want:      configs.Host{Root: "/env", Listen: "127.0.0.1:2", Communicator: "/env-run/c", LogLevel: "warn", LogFormat: "json"},
		criu:      "env-criu", dir: "/env/images",
	}, {
		name:      "flags over environment",
		main:      main,
		variables: all,
		flags: configs.Overrides{Root: "/flag", Listen: "[::1]:3", Communicator: "/flag-run/c",
			Criu: "/flag/criu", LogLevel: "error", LogFormat: "console"},
		want: configs.Host{Root: "/flag", Listen: "[::1]:3", Communicator: "/flag-run/c", LogLevel: "error", LogFormat: "console"},
		criu: "/flag/criu", dir: "/flag/images",
	}, {
		name:  "a root given as flag holds everything",
		main:  main,
		flags: configs.Overrides{Root: "/flag"},
		want:  configs.Host{Root: "/flag", Listen: "127.0.0.1:1", Communicator: "/flag/run/communicator", LogLevel: "debug", LogFormat: "auto"},
		criu:  "/main/criu", dir: "/flag/images",
	}, {
		name:      "but a communicator given outside the files stays",
		main:      main,
		variables: map[string]string{"DORMOUSE_COMMUNICATOR": "/env-run/c"},
		flags:     configs.Overrides{Root: "/flag"},
		want:      configs.Host{Root: "/flag", Listen: "127.0.0.1:1", Communicator: "/env-run/c", LogLevel: "debug", LogFormat: "auto"},
		criu:      "/main/criu", dir: "/flag/images",
	}, {
		name:  "relative paths outside the files start from the working directory",
		flags: configs.Overrides{Root: "r", Communicator: "c", Criu: "./criu"},
		want: configs.Host{Root: workDir + "/r", Listen: "127.0.0.1:9998", Communicator: workDir + "/c",
			LogLevel: "info", LogFormat: "auto"},
		criu: workDir + "/criu", dir: workDir + "/r/images",
	}} {
		t.Run(test.name, func(t *testing.T) {
			path := write(t, "x.toml", test.main)
			c, err := configs.Load(path, environment(test.variables), test.flags)
			if err != nil {
				t.Fatal(err)
			}
			host := configs.Default().Host
			host.Root, host.Listen, host.Communicator = test.want.Root, test.want.Listen, test.want.Communicator
			host.LogLevel, host.LogFormat = test.want.LogLevel, test.want.LogFormat
			if diff := cmp.Diff(host, c.Host); diff != "" {
				t.Errorf("host (-want +got):\n%s", diff)
			}
			want := configs.Default().Hibernate
			want.Criu, want.Dir = test.criu, test.dir
			if diff := cmp.Diff(want, c.Hibernate); diff != "" {
				t.Errorf("hibernate (-want +got):\n%s", diff)
			}
		})
	}
}

func TestPathsStartFromTheirFile(t *testing.T) {
	dir := t.TempDir()
	path := writeIn(t, dir, "x.toml", `
[host]
root = "state"
communicator = "run/c"
[hibernate]
criu = "../criu"
dir = "images"
[[plugin]]
callsign = "A"
executable = "bin/a"
[[plugin]]
callsign = "B"
executable = "b"
`)
	writeIn(t, dir, "plugins.d/c.toml", "[[plugin]]\ncallsign = \"C\"\nexecutable = \"./c\"")
	t.Chdir(dir)
	for _, path := range []string{path, "x.toml"} {
		c, err := configs.Load(path, nil, configs.Overrides{})
		if err != nil {
			t.Fatal(err)
		}
		got := []string{c.Host.Root, c.Host.Communicator, c.Host.RunDir(), c.Hibernate.Criu, c.Hibernate.Dir,
			c.Plugins[0].Executable, c.Plugins[1].Executable, c.Plugins[2].Executable}
		want := []string{dir + "/state", dir + "/run/c", dir + "/run", filepath.Dir(dir) + "/criu", dir + "/images",
			dir + "/bin/a", "b", dir + "/plugins.d/c"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

func TestDropInsInLexicalOrder(t *testing.T) {
	dir := t.TempDir()
	plugin := func(callsign string) string {
		return "[[plugin]]\ncallsign = \"" + callsign + "\"\nexecutable = \"x\"\n"
	}
	path := writeIn(t, dir, "x.toml", plugin("Main"))
	writeIn(t, dir, "plugins.d/20.toml", plugin("D"))
	writeIn(t, dir, "plugins.d/10.toml", plugin("B")+plugin("A"))
	writeIn(t, dir, "plugins.d/15.toml", "# nothing yet\n")
	writeIn(t, dir, "plugins.d/README", "not read")
	writeIn(t, dir, "plugins.d/.30.toml", "not read")
	c, err := configs.Load(path, nil, configs.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, p := range c.Plugins {
		got = append(got, p.Callsign)
	}
	if diff := cmp.Diff([]string{"Main", "B", "A", "D"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestNoFileNamed(t *testing.T) {
	if _, err := os.Stat(filepath.Dir(configs.DefaultPath)); err == nil {
		t.Skip("this machine has a configuration of its own")
	}
	got, err := configs.Load("", nil, configs.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	want := configs.Default()
	want.Hibernate.Dir = "/var/lib/dormouse/images"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, err = configs.Load(configs.DefaultPath, nil, configs.Overrides{})
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("named: got %v, want an error that the file does not exist", err)
	}
}

func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	main := writeIn(t, dir, "x.toml", "")
	if err := syscall.Mkfifo(dir+"/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	writeIn(t, dir, "big", strings.Repeat("#\n", 1<<19)+"#")
	writeIn(t, dir, "limit", strings.Repeat("#\n", 1<<19))
	writeIn(t, dir, "latin1", "[host]\n# Fl\xfcgel\n")
	for name, want := range map[string]string{
		"missing": "missing: cannot read: no such file or directory",
		"":        ": cannot read: it is a directory",
		"pipe":    "pipe: cannot read: it is not a regular file",
		"big":     "big: cannot read: it is too large: more than 1.0 MiB",
		"limit":   "",
		"latin1":  "latin1:2: not UTF-8 text",
	} {
		_, err := configs.Load(dir+"/"+name, nil, configs.Overrides{})
		got := ""
		if err != nil {
			got = strings.TrimPrefix(err.Error(), dir+"/")
		}
		if got != want {
			t.Errorf("%q: got error %q, want %q", name, got, want)
		}
	}

	if err := os.MkdirAll(dir+"/plugins.d/dir.toml", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", dir+"/plugins.d/gone.toml"); err != nil {
		t.Fatal(err)
	}
	_, err := configs.Load(main, nil, configs.Overrides{})
	want := dir + "/plugins.d/dir.toml: cannot read: it is a directory\n" +
		dir + "/plugins.d/gone.toml: cannot read: no such file or directory"
	if err == nil || err.Error() != want {
		t.Errorf("got error:\n%v\nwant:\n%s", err, want)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		t.Error("the cause is lost")
	}

	other := t.TempDir()
	writeIn(t, other, "plugins.d", "a file")
	_, err = configs.Load(writeIn(t, other, "x.toml", ""), nil, configs.Overrides{})
	want = other + "/plugins.d: cannot read: not a directory"
	if err == nil || err.Error() != want {
		t.Errorf("got error %v, want %s", err, want)
	}
}

func TestBadOverrides(t *testing.T) {
	path := write(t, "x.toml", "")
	variables := environment(map[string]string{"DORMOUSE_LISTEN": "127.0.0.1", "DORMOUSE_LOG_FORMAT": "jsno"})
	_, err := configs.Load(path, variables, configs.Overrides{LogLevel: "loud"})
	want := `--log-level: "loud" is not "trace", "debug", "info", "warn" or "error"
DORMOUSE_LISTEN: "127.0.0.1" is not an address such as "127.0.0.1:9998"
DORMOUSE_LOG_FORMAT: "jsno" is not "auto", "console", "json" or "journal": did you mean "json"?`
	if err == nil || err.Error() != want {
		t.Errorf("got error:\n%v\nwant:\n%s", err, want)
	}
}

// TestProblems holds that a caller can take the error of a load apart.
func TestProblems(t *testing.T) {
	path := write(t, "x.toml", "\n[host]\nrot = 1\n")
	_, err := configs.Load(path, nil, configs.Overrides{})
	var problems configs.LoadErrors
	if !errors.As(err, &problems) || len(problems) != 1 {
		t.Fatalf("got %v, want one problem", err)
	}
	if p := problems[0]; p.Source != path || p.Line != 3 {
		t.Errorf("got %s:%d, want line 3 of %s", p.Source, p.Line, path)
	}
}

// What bounds the host is refused where it could not work.
func TestBoundsOfTheHost(t *testing.T) {
	for text, want := range map[string]string{
		`memory = "1GiB"`:                          "",
		`memory = "64MiB"`:                         `key "memory" in [host]: 64MiB is less than 96MiB`,
		`memory = 256`:                             `key "memory" in [host] must be`,
		`client-memory = "64MiB"`:                  "",
		`client-memory = "1MiB"`:                   `key "client-memory" in [host]: 1MiB is not between 12MiB and half of memory, 128MiB`,
		`client-memory = "129MiB"`:                 "is not between 12MiB and half of memory, 128MiB",
		"memory = \"1GiB\"\nclient-memory = \"0\"": "",
		`clones = 0`:                               `key "clones" in [host]: 0 is not between 1 and 100000`,
	} {
		_, err := configs.Load(write(t, "x.toml", "[host]\n"+text), nil, configs.Overrides{})
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", text, err, want)
		}
	}
}
