package manifest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
)

// least is the least that a manifest must have, on lines 1 to 4.
const least = "name = \"a\"\nversion = \"1.0.0\"\nprogram.linux-amd64 = \"bin/amd64/counter\"\n\n"

// What is wrong is said with file and line.
func TestFaults(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "1: missing key \"name\" at the top level\n1: missing key \"version\" at the top level\n1: the table [program] is missing, with a path for each platform, such as " + Platform() + " = \"bin/\"",
		"name = 1\n[":                     "2: not valid TOML: unexpected end of table name (table names cannot be empty)",
		least + "dscription = \"x\"":      `5: unknown key "dscription" at the top level: did you mean "description"?`,
		least + "description = \"a\\nb\"": `5: key "description" at the top level: it must be one line of at most 500 bytes`,
		least + "provides = [\"a\"]":      `5: key "provides[0]" at the top level: "" is not a version such as "1.2.3" or "2.0.0-rc.1"`,
		least + "provides = [\"a 1\"]":    `5: key "provides[0]" at the top level: "1" is not a version such as "1.2.3" or "2.0.0-rc.1"`,
		least + "provides = [\"a 1.0.0\", \"a 2.0.0\"]": `5: key "provides" at the top level names the type "a" twice`,
		least + "uses = [\"a\"]":                        `5: key "uses[0]" at the top level: "" is not a range of versions such as "^1.2" or ">=1.0, <3"`,
		least + "uses = [\"a new\"]":                    `5: key "uses[0]" at the top level: "new" is not a range of versions such as "^1.2" or ">=1.0, <3"`,
		least + "data = -1":                             `5: key "data" at the top level: -1 is not between 0 and 2147483647`,
		least + "schema = \"/etc/passwd\"":              `5: key "schema" at the top level: "/etc/passwd" is not the relative path of something in the package`,
		least + "schema = \"none.json\"":                `5: key "schema" at the top level: none.json: `,
		least + "[program]\nlinux = \"x\"":              "6: key \"linux\" in [program] is not a platform such as \"" + Platform() + "\"",
		"name = \"a\"\nversion = \"1\"\n[program]\nlinux = \"../x\"": "2: key \"version\" at the top level: \"1\" is not a version such as \"1.2.3\" or \"2.0.0-rc.1\"\n" +
			"4: key \"linux\" in [program] is not a platform such as \"" + Platform() + "\"\n4: key \"linux\" in [program]: \"../x\" is not the relative path of something in the package",
		"name = \"a\"\nversion = \"1.0.0\"\n[program]\nlinux-amd64 = \"bin/none\"": `3: key "linux-amd64" in [program]: there is no bin/none in the package`,
		least + "[[instance]]":                                                                                                 `5: missing key "callsign" in [[instance]]`,
		least + "[[instance]]\ncallsign = \"Flows\"":                                                                           `6: key "callsign" in [[instance]]: the callsign "Flows" is reserved: a part of the host answers to it; give the instance another, "Flows-1" for example`,
		least + "[[instance]]\ncallsign = \"A\"\nstart-mod = \"x\"":                                                            `7: unknown key "start-mod" in [[instance]]: did you mean "start-mode"?`,
		least + "[[instance]]\ncallsign = \"A\"\nlimits.memory = 1":                                                            `7: key "memory" in the limits table in [[instance]] must be a size such as "64MiB", not an integer`,
		least + "[[instance]]\ncallsign = \"A\"\nbuiltin = \"Monitor\"":                                                        `7: key "builtin" in [[instance]] does not go with a package, which has programs`,
		least + "[[instance]]\ncallsign = \"A\"\nexecutable = \"/bin/sh\"":                                                     `7: key "executable" in [[instance]]: "/bin/sh" is not the relative path of something in the package`,
		least + "[[instance]]\ncallsign = \"A\"\nexecutable = \"sh\"":                                                          `7: key "executable" in [[instance]]: there is no ./sh in the package`,
		least + "[[instance]]\ncallsign = \"A\"\nweb-ui = \"../..\"":                                                           `7: key "web-ui" in [[instance]]: "../.." is not the relative path of something in the package`,
		least + "[[instance]]\ncallsign = \"A\"\nweb-ui = \"none\"":                                                            `7: key "web-ui" in [[instance]]: there is no directory none in the package`,
		least + "[[instance]]\ncallsign = \"A\"\n[[instance]]\ncallsign = \"a\"":                                               `8: key "callsign" in [[instance]]: another instance of the package is "a"`,
		least + "[[flow]]\nname = \"f\"\nkind = \"source\"\ngives = [\"t\"]":                                                   `5: a [[flow]] needs an [[instance]]`,
		least + "[[instance]]\ncallsign = \"A\"\n[[flow]]\nname = \"f\"\nkind = \"source\"\ngives = [\"t\"]\ninstance = \"B\"": `11: key "instance" in [[flow]]: no [[instance]] of the package is "B"`,
		least + "[[instance]]\ncallsign = \"A\"\n[[flow]]\nname = \"f\"\nkind = \"source\"\ngives = [\"t\"]\n[[flow]]\nname = \"F\"\nkind = \"source\"\ngives = [\"t\"]": `12: key "name" in [[flow]]: another flow of the package is "F"`,
		least + "[privileges]\nsubsystems = [\"a b\"]": `6: key "subsystems[0]" in [privileges]: "a b" is not the name of a subsystem: it must be a letter, then at most 63 letters, digits, "_" or "-"`,
		least + "[privileges]\nmemory = \"1MiB\"":      `6: unknown key "memory" in [privileges]`,
		least + "[privileges]\nlimits.memory = \"1MiB\"\n[[instance]]\ncallsign = \"A\"\nlimits.memory = \"2MiB\"\nenvironment.X = \"1\"\ncontrol = [\"Network\"]": "7: the instance A asks for 2MiB memory instead of 1MiB, which [privileges] does not have\n" +
			"7: the instance A asks for control of the subsystem Network, which [privileges] does not have\n7: the instance A asks for the variable X, which [privileges] does not have",
	} {
		dir := writePackage(t, text)
		_, err := Read(dir)
		if err == nil {
			t.Errorf("%s\nwas accepted, want %s", text, want)
			continue
		}
		got := strings.ReplaceAll(err.Error(), filepath.Join(dir, FileName)+":", "")
		if isBeginning := strings.HasSuffix(want, ": "); got != want && (!isBeginning || !strings.HasPrefix(got, want)) {
			t.Errorf("%s\ngot  %s\nwant %s", text, got, want)
		}
	}
}

// A schema is of the version 2020-12, and loads nothing.
func TestWrongSchemas(t *testing.T) {
	for text, want := range map[string]string{
		`{`:                 "not valid JSON: ",
		`{"type": "wrong"}`: `at "": there is no type "wrong", only null, boolean, object, array, number, string, integer`,
		`{"properties": {"a": {"items": {"type": ["null", "text"]}}}}`: `at "/properties/a/items": there is no type "text", only `,
		`{"$schema": "http://json-schema.org/draft-07/schema#"}`:       `its "$schema" is http://json-schema.org/draft-07/schema#; only https://json-schema.org/draft/2020-12/schema is known`,
		`{"$ref": "file:///etc/passwd"}`:                               "",
		`{"$ref": "https://example.org/x.json"}`:                       "",
	} {
		dir := writePackage(t, least+"schema = \"s.json\"")
		if err := os.WriteFile(filepath.Join(dir, "s.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Read(dir)
		if err == nil || !strings.Contains(err.Error(), "s.json: "+want) || want == "" && !strings.Contains(err.Error(), "nothing is loaded") {
			t.Errorf("%s: got %v, want %s", text, err, want)
		}
	}
}

func TestCheckFor(t *testing.T) {
	m, err := Parse("plugin.toml", []byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	open := configs.Default().Packages.Caps
	for name, test := range map[string]struct {
		platform string
		caps     configs.Caps
		known    []string
		want     string
	}{
		"all":      {"linux-arm64", open, []string{"Tuner"}, ""},
		"platform": {"linux-riscv64", open, []string{"Tuner"}, "the package has no program for this machine, which is linux-riscv64; it has: linux-amd64, linux-arm64"},
		"caps": {"linux-amd64", configs.Caps{Memory: 63 << 20, Swap: 1 << 20, Pids: 98, CPUWeight: 99, OpenFiles: 1, Environment: []string{"D?"}}, []string{"Tuner"},
			"the package asks for 64MiB memory instead of 63MiB, which [packages.caps] does not allow\n" +
				"the package asks for any swap instead of 1MiB, which [packages.caps] does not allow\n" +
				"the package asks for 99 threads instead of 98, which [packages.caps] does not allow\n" +
				"the package asks for 100 cpu-weight instead of 99, which [packages.caps] does not allow\n" +
				"the package asks for any open files instead of 1, which [packages.caps] does not allow\n" +
				"the package asks for the variable DEBUG, which [packages.caps] does not allow\n" +
				"the package asks for control of the subsystem Tuner, which [packages.caps] does not allow"},
		"just enough": {"linux-amd64", configs.Caps{Memory: 64 << 20, Pids: 99, CPUWeight: 100, Environment: []string{"X", "D*"}, Subsystems: []string{"T*"}}, []string{"Tuner"}, ""},
		"subsystem":   {"linux-amd64", open, []string{"Network"}, `plugin.toml:15: key "control[0]" in the instance: there is no subsystem "Tuner"`},
	} {
		got := ""
		if err := m.CheckFor(test.platform, test.caps, test.known); err != nil {
			got = err.Error()
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestMoreThan(t *testing.T) {
	swap := configs.Bytes(1 << 20)
	old := Privileges{Limits: configs.Limits{Memory: 2 << 20, Swap: &swap, Pids: 5}, Environment: []string{"A"}, Subsystems: []string{"Time"}}
	for name, test := range map[string]struct {
		p    Privileges
		want []string
	}{
		"same":      {old, nil},
		"less":      {Privileges{Limits: configs.Limits{Memory: 1 << 20, Swap: new(configs.Bytes), Pids: 4, OpenFiles: 7, CPUWeight: 50}}, nil},
		"more":      {Privileges{Limits: configs.Limits{Memory: 3 << 20, Swap: &swap, Pids: 6}, Environment: []string{"A", "B"}, Subsystems: []string{"Network", "Time"}}, []string{"3MiB memory instead of 2MiB", "6 threads instead of 5", "the variable B", "control of the subsystem Network"}},
		"limitless": {Privileges{}, []string{"any memory instead of 2MiB", "any swap instead of 1MiB", "any threads instead of 5"}},
		"weight":    {Privileges{Limits: configs.Limits{Memory: 1, Swap: &swap, Pids: 1, CPUWeight: 101}}, []string{"101 cpu-weight instead of 100"}},
	} {
		if diff := cmp.Diff(test.want, (Manifest{Privileges: test.p}).MoreThan(Manifest{Privileges: old})); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// A package for other machines has no instances here, unless each has a program of its own.
func TestOtherPlatform(t *testing.T) {
	const other = "name = \"a\"\nversion = \"1.0.0\"\nprogram.plan9-mips = \"bin/amd64/counter\"\n[[instance]]\ncallsign = \"A\"\n"
	for text, want := range map[string]error{other: ErrPlatform, other + "executable = \"other\"\n": nil} {
		dir := writePackage(t, text)
		m, err := Read(dir)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Plugins(dir, nil); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

// The operator's tables change instances key by key, and add some.
func TestOverlays(t *testing.T) {
	dir := writePackage(t, whole)
	m, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	overlays := []configs.Overlay{
		{Package: "counter", Callsign: "COUNTER", Keys: configs.InstanceKeys{Values: map[string]any{"start-mode": "deactivated", "configuration": map[string]any{"step": int64(2)}}, Source: "d.toml", Line: 3}},
		{Package: "counter", Callsign: "Third", Keys: configs.InstanceKeys{Values: map[string]any{"configuration": map[string]any{"start": int64(7)}}, Source: "d.toml", Line: 9}},
		{Package: "another", Callsign: "Other", Keys: configs.InstanceKeys{Values: map[string]any{"start-mode": "activated"}}},
	}
	plugins, err := m.Plugins(dir, overlays)
	if err != nil {
		t.Fatal(err)
	}
	type brief struct {
		Callsign, Executable string
		StartMode            configs.StartMode
		Configuration        string
		Pids                 int
	}
	var got []brief
	for _, p := range plugins {
		got = append(got, brief{p.Callsign, strings.TrimPrefix(p.Executable, dir), p.StartMode, string(p.ConfigurationJSON()), p.Limits.Pids})
	}
	program := "/" + m.Programs[Platform()]
	want := []brief{
		{"Counter", program, configs.StartDeactivated, `{"start":41,"step":2}`, 9},
		{"Other", "/other", configs.StartDeactivated, `{"start":1}`, 99},
		{"Third", program, configs.StartDeactivated, `{"start":7}`, 0},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	overlays[1].Keys.Values = map[string]any{"configuration": map[string]any{"start": int64(-1)}}
	_, err = m.Plugins(dir, overlays)
	const wantError = "d.toml:9: the configuration of Third is not as the package wants it: /start does not fit: minimum: -1 is less than 0"
	if err == nil || err.Error() != wantError {
		t.Errorf("got %v, want %s", err, wantError)
	}
	overlays[1].Keys.Values = map[string]any{"start-mode": "never"}
	if _, err = m.Plugins(dir, overlays); err == nil || !strings.HasPrefix(err.Error(), `d.toml:9: key "start-mode" in the instance: "never" is not`) {
		t.Errorf("got %v", err)
	}
}

func TestVersions(t *testing.T) {
	for _, test := range []struct {
		a, b string
		want int
	}{
		{"1.0.0", "1.0.0", 0}, {"1.0.0", "1.0.1", -1}, {"1.10.0", "1.9.0", 1}, {"2.0.0-rc.1", "2.0.0", -1}, {"2.0.0-rc.2", "2.0.0-rc.10", -1}, {"1.0.0+a", "1.0.0+b", -1},
	} {
		if got := CompareVersions(test.a, test.b); got != test.want {
			t.Errorf("%s and %s: got %d, want %d", test.a, test.b, got, test.want)
		}
	}
	for _, test := range []struct {
		use  Used
		p    Provided
		want bool
	}{
		{Used{"a", "^1.2"}, Provided{"a", "1.3.0"}, true}, {Used{"a", "^1.2"}, Provided{"a", "2.0.0"}, false}, {Used{"a", ">=1.0, <3"}, Provided{"a", "2.9.9"}, true},
		{Used{"a", "*"}, Provided{"b", "1.0.0"}, false}, {Used{"a", "1.x"}, Provided{"a", "1.9.0"}, true}, {Used{"a", "^1.2"}, Provided{"a", "1.3.0-rc.1"}, false},
	} {
		if got := test.use.IsMetBy(test.p); got != test.want {
			t.Errorf("%s by %s: got %v", test.use, test.p, got)
		}
	}
}

// FuzzParse holds that any text either is a manifest, whose paths stay in the package, or is
// refused on lines that it has.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", least, whole, least + "[privileges]\nlimits.swap = \"1\"\n", "name = \"\xff", least + "[[instance]]\ncallsign = \"A\"\nexecutable = \"..\""} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) > 1<<12 {
			return
		}
		m, err := Parse("f.toml", text)
		if err != nil {
			faults, ok := errors.AsType[configs.LoadErrors](err)
			for _, fault := range faults {
				if fault.Line < 1 || fault.Line > 1+strings.Count(string(text), "\n") {
					t.Errorf("a fault on line %d: %v", fault.Line, fault)
				}
			}
			if !ok || len(faults) == 0 {
				t.Errorf("got %T", err)
			}
			return
		}
		plugins, err := m.Plugins("/package", nil)
		if errors.Is(err, ErrPlatform) {
			return
		}
		if err != nil {
			t.Fatalf("valid, and then %v", err)
		}
		for _, p := range plugins {
			for _, path := range []string{p.Executable, p.WebUI, p.Data} {
				if path != "" && !strings.HasPrefix(path, "/package") || strings.Contains(path, "..") && strings.Contains(path, "/../") {
					t.Errorf("%s is outside of the package", path)
				}
			}
		}
	})
}
