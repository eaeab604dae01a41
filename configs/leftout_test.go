package configs_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
)

// plugin returns a table [[plugin]], with more keys after the two that must stand there.
func plugin(callsign string, more ...string) string {
	return "[[plugin]]\ncallsign = \"" + callsign + "\"\nexecutable = \"x\"\n" + strings.Join(more, "\n") + "\n"
}

// TestBadDropInsAreLeftOut has one bad drop-in of each kind, and one that is well.
func TestBadDropInsAreLeftOut(t *testing.T) {
	for name, test := range map[string]struct {
		bad        string
		main       string
		problem    string // after the path
		callsigns  []string
		isComplete bool
		plugins    string // those that are left, in order
	}{
		"a key is unknown": {
			bad: plugin("Bad", "orde = 1") + plugin("Other"), problem: `:4: unknown key "orde" in [[plugin]]`,
			callsigns: []string{"Bad", "Other"}, isComplete: true, plugins: "Main Good",
		},
		"it is not TOML": {
			bad: plugin("Bad") + "[[plugin\n" + plugin("Other"), problem: ":5: not valid TOML", callsigns: []string{"Bad", "Other"}, plugins: "Main Good",
		},
		"it is not text":         {bad: plugin("Bad") + "# Fl\xfcgel\n", problem: ":5: not UTF-8", callsigns: []string{"Bad"}, plugins: "Main Good"},
		"it is cut off":          {bad: "[[plugin]]\nca", problem: ":2: not valid TOML", plugins: "Main Good"},
		"a table is misspelled":  {bad: plugin("Bad") + "[[plugins]]\n", problem: `:5: unknown key "plugins"`, callsigns: []string{"Bad"}, plugins: "Main Good"},
		"plugin is no list":      {bad: "plugin = 1\n", problem: `:1: key "plugin" at the top level must be`, plugins: "Main Good"},
		"a callsign is missing":  {bad: plugin("Bad") + "[[plugin]]\nexecutable = \"x\"\n", problem: `:5: missing key "callsign"`, callsigns: []string{"Bad"}, plugins: "Main Good"},
		"it configures the host": {bad: "[host]\n" + plugin("Bad"), problem: ":1: [host] must not stand in a drop-in", callsigns: []string{"Bad"}, isComplete: true, plugins: "Main Good"},
		"its callsign is taken by an earlier file": {
			bad: plugin("main") + plugin("Bad"), problem: `:2: the callsign "main" is taken`, callsigns: []string{"Bad", "main"}, isComplete: true, plugins: "Main Good",
		},
		"there is no such builtin": {
			bad: "[[plugin]]\ncallsign = \"Bad\"\nbuiltin = \"Monitro\"\n", problem: `:3: key "builtin" in [[plugin]]: there is no builtin "Monitro", only: Monitor: did you mean "Monitor"?`,
			callsigns: []string{"Bad"}, isComplete: true, plugins: "Main Good",
		},
		"it requires what no file names": {bad: plugin("Bad", `requires = ["main"]`), problem: `:2: Bad requires "main"`, callsigns: []string{"Bad"}, isComplete: true, plugins: "Main Good"},
		"it closes a circle": {
			main: plugin("Main", `requires = ["Bad"]`), bad: plugin("Bad", `requires = ["Main"]`), problem: ":2: instances require each other in a circle",
			callsigns: []string{"Bad"}, isComplete: true, plugins: "Main Good",
		},
		"others require what it names": {
			main: plugin("Main", `requires = ["Bad"]`), bad: plugin("Bad", "orde = 1"), problem: `:4: unknown key "orde"`, callsigns: []string{"Bad"}, isComplete: true, plugins: "Main Good",
		},
		"others require what it may name": {main: plugin("Main", `requires = ["Bad"]`), bad: "[[plugin", problem: ":1: not valid TOML", plugins: "Main Good"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			main := test.main
			if main == "" {
				main = plugin("Main")
			}
			path := writeIn(t, dir, "x.toml", main)
			bad := writeIn(t, dir, "plugins.d/bad.toml", test.bad)
			writeIn(t, dir, "plugins.d/good.toml", plugin("Good"))
			if _, err := configs.Load(path, nil, configs.Overrides{}); err == nil {
				t.Error("Load accepts it")
			}
			config, err := configs.LoadWithoutBadDropIns(path, nil, configs.Overrides{})
			if err != nil || len(config.LeftOut) != 1 {
				t.Fatalf("got %v, left out %v", err, config.LeftOut)
			}
			var left []string
			for _, p := range config.Plugins {
				left = append(left, p.Callsign)
			}
			file := config.LeftOut[0]
			if strings.Join(left, " ") != test.plugins || file.Path != bad || !slices.Equal(file.Callsigns, test.callsigns) || file.IsComplete != test.isComplete {
				t.Errorf("the plugins are %v; left out: %+v", left, file)
			}
			if !strings.HasPrefix(file.String(), bad+test.problem) || strings.Contains(file.String(), "\n") {
				t.Errorf("it is told as %q", file.String())
			}
			for callsign, want := range map[string]bool{"bad": slices.Contains(test.callsigns, "Bad") || !test.isComplete, "Elsewhere": !test.isComplete} {
				if got := config.LeftOut.MayName(callsign); got != want {
					t.Errorf("it may name %s: %t", callsign, got)
				}
			}
		})
	}
}

// A fault outside of the drop-ins keeps a host from starting, and all is told at once.
func TestOnlyDropInsAreLeftOut(t *testing.T) {
	dir := t.TempDir()
	path := writeIn(t, dir, "x.toml", "[host]\nrot = 1\n"+plugin("Main", `requires = ["main"]`))
	bad := writeIn(t, dir, "plugins.d/bad.toml", plugin("Bad", "orde = 1"))
	_, err := configs.LoadWithoutBadDropIns(path, nil, configs.Overrides{LogLevel: "loud"})
	if err == nil {
		t.Fatal("it is accepted")
	}
	for _, part := range []string{path + `:2: unknown key "rot"`, path + `:4: Main requires "main"`, "--log-level", bad + `:4: unknown key "orde"`} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%v\ndoes not say %q", err, part)
		}
	}
	if _, err := configs.LoadWithoutBadDropIns(filepath.Join(dir, "none"), nil, configs.Overrides{}); err == nil {
		t.Error("a main file that is missing is accepted")
	}
}

// A directory of drop-ins that can't be read may name anything.
func TestUnreadableDropInDirectory(t *testing.T) {
	dir := t.TempDir()
	path := writeIn(t, dir, "x.toml", plugin("Main"))
	writeIn(t, dir, "plugins.d", "a file")
	config, err := configs.LoadWithoutBadDropIns(path, nil, configs.Overrides{})
	if err != nil || len(config.Plugins) != 1 || !config.LeftOut.MayName("Any") {
		t.Errorf("got %v, %+v", err, config)
	}
	if err := os.Remove(filepath.Join(dir, "plugins.d")); err != nil {
		t.Fatal(err)
	}
	whole, err := configs.LoadWithoutBadDropIns(path, nil, configs.Overrides{})
	if err != nil || whole.LeftOut.MayName("Any") {
		t.Errorf("got %v, %+v", err, whole.LeftOut)
	}
	strict, err := configs.Load(path, nil, configs.Overrides{})
	if diff := cmp.Diff(strict, whole); err != nil || diff != "" {
		t.Errorf("a whole configuration differs (%v, -Load +LoadWithoutBadDropIns):\n%s", err, diff)
	}
}
