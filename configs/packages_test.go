package configs_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/internal/tomltable"
)

const minisignKey = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3"

func TestPackages(t *testing.T) {
	path := write(t, "x.toml", `
[packages]
source = "filesystem"
keys = ["`+minisignKey+`", "./vendor.pub"]
unsigned = "never"
bundled = "bundled"
catalogue = "oci://registry.example/plugins"
central = "oci://localhost:5000/wanted"
central-every = "1m"
plain-http = ["localhost:5000"]
credentials = "registry.json"
max-size = "2GiB"
keep-data = "0"
trial = "1m"
auto-rollback = true
[packages.caps]
memory = "64MiB"
swap = "1MiB"
pids = 9
cpu-weight = 200
open-files = 99
environment = ["APP_*"]
subsystems = []
`)
	got, err := configs.Load(path, nil, configs.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	dir := strings.TrimSuffix(path, "/x.toml")
	want := configs.Packages{
		Source: configs.SourceFilesystem, Keys: []string{minisignKey, dir + "/vendor.pub"}, Unsigned: configs.UnsignedNever,
		Bundled: dir + "/bundled", Catalogue: "oci://registry.example/plugins", Central: "oci://localhost:5000/wanted",
		CentralEvery: configs.Duration(time.Minute), PlainHTTP: []string{"localhost:5000"}, Credentials: dir + "/registry.json",
		MaxSize: 2 << 30, KeepData: 0, Trial: configs.Duration(time.Minute), AutoRollback: true,
		Caps: configs.Caps{Memory: 64 << 20, Swap: 1 << 20, Pids: 9, CPUWeight: 200, OpenFiles: 99, Environment: []string{"APP_*"}},
	}
	if diff := cmp.Diff(want, got.Packages); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestWrongPackages(t *testing.T) {
	for text, want := range map[string]string{
		`source = "files"`:                              `key "source" in [packages]: "files" is not "database" or "filesystem": did you mean "filesystem"?`,
		`unsigned = "no"`:                               `key "unsigned" in [packages]: "no" is not "local", "never" or "always"`,
		`central = "https://x/y"`:                       `key "central" in [packages]: "https://x/y" is not a repository such as "oci://registry.example/plugins"`,
		`catalogue = "oci://x"`:                         `key "catalogue" in [packages]: "oci://x" must name a repository of the registry, without a tag, such as "oci://x/plugins"`,
		`catalogue = "oci://me:secret@x/y"`:             `key "catalogue" in [packages]: "oci://me:secret@x/y" is not a repository such as "oci://registry.example/plugins"`,
		`catalogue = "oci://x/y:latest"`:                `key "catalogue" in [packages]: "oci://x/y:latest" must name a repository of the registry, without a tag, such as "oci://x/plugins"`,
		`keys = ["RW"]`:                                 `key "keys[0]" in [packages]: "RW" is neither a public key of minisign, as "RWQf6…", nor the path of one: a path has a "/"`,
		`trial = "0s"`:                                  `key "trial" in [packages]: "0s" must be more than zero`,
		`max-size = "0"`:                                `key "max-size" in [packages]: 0 is less than 1`,
		`plain-http = ["http://x"]`:                     `key "plain-http[0]" in [packages]: the port of "http://x" must be a number from 0 to 65535`,
		`bundeled = "x"`:                                `unknown key "bundeled" in [packages]: did you mean "bundled"?`,
		"caps = 1":                                      `key "caps" in [packages] must be a table, written [packages.caps], not an integer`,
		"[packages.caps]\nsubsystems = [\"[\"]":         `key "subsystems[0]" in [packages.caps]: "[" is not a pattern such as "Player*"`,
		"[packages.caps]\nmemroy = \"1\"":               `unknown key "memroy" in [packages.caps]: did you mean "memory"?`,
		"[packages.caps]\ncpu-weight = 10001":           `key "cpu-weight" in [packages.caps]: 10001 is not between 0 and 10000`,
		"[[plugin]]\npackage = \"x\"":                   `missing key "callsign" in [[plugin]]`,
		"[[plugin]]\npackage = \"X\"\ncallsign = \"A\"": `key "package" in [[plugin]]: "X" is not the name of a package: it must be a lower-case letter, then at most 63 lower-case letters, digits or "-"`,
		"[[plugin]]\npackage = \"x\"\ncallsign = \"A\"\nexecutable = \"a\"":  `key "executable" in [[plugin]] does not go with "package": the package has the program`,
		"[[plugin]]\npackage = \"x\"\ncallsign = \"A\"\nwarmstart = true":    `unknown key "warmstart" in [[plugin]]: did you mean "warm-start"?`,
		"[[plugin]]\npackage = \"x\"\ncallsign = \"A\"\nstart-mode = \"on\"": `key "start-mode" in [[plugin]]: "on" is not "deactivated", "activated" or "unavailable"`,
	} {
		if !strings.HasPrefix(text, "[") {
			text = "[packages]\n" + text
		}
		_, err := configs.Load(write(t, "x.toml", text), nil, configs.Overrides{})
		if err == nil || !strings.HasSuffix(err.Error(), ": "+want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s\ngot  %v\nwant %s", text, err, want)
		}
	}
}

func TestReservedCallsigns(t *testing.T) {
	for _, name := range []string{"Packager", "Flows", "Tasks", "State", "flows", "STATE"} {
		_, err := configs.Load(write(t, "x.toml", "[[plugin]]\nexecutable = \"a\"\ncallsign = \""+name+"\""), nil, configs.Overrides{})
		want := `:3: key "callsign" in [[plugin]]: the callsign "` + name + `" is reserved: a part of the host answers to it; give the instance another, "` + name + `-1" for example`
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
		if err := configs.CheckCallsign(name + "-1"); err != nil {
			t.Error(err)
		}
	}
}

func TestPackageNames(t *testing.T) {
	for name, good := range map[string]bool{
		"a": true, "counter": true, "a-1": true, strings.Repeat("a", 64): true,
		"": false, "A": false, "1a": false, "-a": false, "a-": false, "a/b": false, "a.b": false, "ä": false, "aé": false, strings.Repeat("a", 65): false,
	} {
		if err := configs.CheckPackageName(name); (err == nil) != good {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// What no file names may be an instance of a package: it is awaited, unless a table says already
// that it is one.
func TestAwaited(t *testing.T) {
	needs := "[[plugin]]\ncallsign = \"Needs\"\nexecutable = \"/bin/needs\"\nrequires = [\"Counter\"]\n"
	overlay := "[[plugin]]\npackage = \"counter\"\ncallsign = \"Counter\"\n"
	for text, want := range map[string]string{
		needs:           `:2: Needs requires "Counter", which no file names: it waits until a package has an instance of that callsign`,
		needs + overlay: "",
	} {
		path := write(t, "dormouse.toml", text)
		config, err := configs.Load(path, nil, configs.Overrides{})
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, awaited := range config.Awaited {
			got += strings.TrimPrefix(awaited.Error(), path)
		}
		if got != want {
			t.Errorf("awaited is %q, want %q", got, want)
		}
	}
}

// An overlay holds the keys that the operator has set, and no other.
func TestOverlays(t *testing.T) {
	path := write(t, "dormouse.toml", `
[[plugin]]
callsign = "Needs"
executable = "/bin/needs"
requires = ["Counter"]
`)
	overlay := writeIn(t, strings.TrimSuffix(path, "/dormouse.toml"), "plugins.d/counter.toml", `
[[plugin]]
package = "counter"
callsign = "Counter"
start-mode = "deactivated"
web-ui = "ui"
limits = { pids = 7 }
configuration.start = 7
`)
	config, err := configs.Load(path, nil, configs.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	want := []configs.Overlay{{Package: "counter", Callsign: "Counter", Keys: configs.InstanceKeys{
		Values: map[string]any{
			"start-mode":    "deactivated",
			"web-ui":        strings.TrimSuffix(overlay, "/counter.toml") + "/ui",
			"limits":        map[string]any{"pids": int64(7)},
			"configuration": map[string]any{"start": int64(7)},
		},
		Source: overlay, Line: 2,
	}}}
	if diff := cmp.Diff(want, config.Overlays); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}

	var faults configs.LoadErrors
	top, _ := (&tomltable.File{Path: "plugin.toml", Dir: "/", Faults: &faults}).Decode([]byte(`
[[instance]]
callsign = "Counter"
executable = "bin/counter"
start-mode = "activated"
on-call = "wake"
limits = { memory = "64MiB", pids = 9 }
control = ["Tuner"]
[instance.configuration]
start = 1
step = 2
`))
	base, _ := configs.ReadInstanceKeys(top.Tables("instance", "in [[instance]]", "tables")[0])
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	plugin, err := config.Overlays[0].Keys.Over(base.In("/versions/1")).Plugin([]string{"Tuner"})
	if err != nil {
		t.Fatal(err)
	}
	merged := configs.DefaultPlugin()
	merged.Callsign, merged.Executable, merged.OnCall = "Counter", "/versions/1/bin/counter", configs.OnCallWake
	merged.WebUI = strings.TrimSuffix(overlay, "/counter.toml") + "/ui"
	merged.Limits = configs.Limits{Memory: 64 << 20, Pids: 7}
	merged.Controls = []string{"Tuner"}
	merged.Configuration = map[string]any{"start": int64(7), "step": int64(2)}
	if diff := cmp.Diff(merged, plugin); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	_, err = config.Overlays[0].Keys.Over(base.In("/versions/1")).Plugin([]string{"Network"})
	wantError := overlay + `:2: key "control[0]" in the instance: there is no subsystem "Tuner"`
	if err == nil || err.Error() != wantError {
		t.Errorf("got %v, want %s", err, wantError)
	}
}

func TestFlows(t *testing.T) {
	read := func(text string) (configs.Flow, configs.LoadErrors) {
		var faults configs.LoadErrors
		top, ok := (&tomltable.File{Path: "plugin.toml", Dir: "/", Faults: &faults}).Decode([]byte("[[flow]]\n" + text))
		if !ok {
			t.Fatal(faults)
		}
		flow := configs.ReadFlow(top.Tables("flow", "in [[flow]]", "tables")[0])
		return flow, faults.SortInPlace()
	}
	got, faults := read("name = \"faces\"\nkind = \"transform\"\ninstance = \"Faces\"\ntakes = [\"frames\"]\ngives = [\"faces\", \"thumbs\"]\nstate = \"running\"\n" +
		"unrouted = \"drop\"\nparallel = 4\nmax-messages = 10\nmax-bytes = \"1MiB\"\nattempts = 3")
	want := configs.Flow{
		Name: "faces", Kind: configs.FlowTransform, Instance: "Faces", Takes: []string{"frames"}, Gives: []string{"faces", "thumbs"}, State: configs.FlowRunning,
		Unrouted: "drop", Parallel: 4, MaxMessages: 10, MaxBytes: 1 << 20, Attempts: 3,
	}
	if diff := cmp.Diff(want, got); diff != "" || len(faults) > 0 {
		t.Errorf("%v (-want +got):\n%s", faults, diff)
	}
	want = configs.DefaultFlow()
	want.Name, want.Kind, want.Takes = "log", configs.FlowSink, []string{"faces"}
	if got, faults := read("name = \"log\"\nkind = \"sink\"\ntakes = [\"faces\"]"); len(faults) > 0 || !cmp.Equal(want, got) {
		t.Errorf("%v (-want +got):\n%s", faults, cmp.Diff(want, got))
	}
	for text, want := range map[string]string{
		"kind = \"sink\"\ntakes = [\"a\"]":                                     `plugin.toml:1: missing key "name" in [[flow]]`,
		"name = \"a\"\ntakes = [\"a\"]":                                        `plugin.toml:1: missing key "kind" in [[flow]]`,
		"name = \"a\"\nkind = \"sink\"":                                        `plugin.toml:1: key "takes" in [[flow]] must name a topic at least, since kind is "sink"`,
		"name = \"a\"\nkind = \"sink\"\ntakes = [\"a\"]\ngives = [\"b\"]":      `plugin.toml:5: key "gives" in [[flow]] does not go with kind = "sink"`,
		"name = \"a\"\nkind = \"source\"\ntakes = [\"a\"]\ngives = [\"b\"]":    `plugin.toml:4: key "takes" in [[flow]] does not go with kind = "source"`,
		"name = \"a/b\"\nkind = \"source\"\ngives = [\"b\"]":                   `plugin.toml:2: key "name" in [[flow]]: "a/b" is not the name of a flow: it must be a letter, then at most 63 letters, digits, "_", "." or "-"`,
		"name = \"a\"\nkind = \"source\"\ngives = [\"b\", \"b\"]":              `plugin.toml:4: key "gives" in [[flow]] names the topic "b" twice`,
		"name = \"a\"\nkind = \"source\"\ngives = [\"drop\"]":                  `plugin.toml:4: key "gives[0]" in [[flow]]: "drop" can't be a topic, since "unrouted" has another meaning for it`,
		"name = \"a\"\nkind = \"source\"\ngives = [\"b\"]\nparallel = 0":       `plugin.toml:5: key "parallel" in [[flow]]: 0 is not between 1 and 1000`,
		"name = \"a\"\nkind = \"source\"\ngives = [\"b\"]\nstate = \"on\"":     `plugin.toml:5: key "state" in [[flow]]: "on" is not "running", "paused" or "stopped"`,
		"name = \"a\"\nkind = \"source\"\ngives = [\"b\"]\nunruoted = \"b\"":   `plugin.toml:5: unknown key "unruoted" in [[flow]]: did you mean "unrouted"?`,
		"name = \"a\"\nkind = \"source\"\ngives = [\"b\"]\nunrouted = \"a b\"": `plugin.toml:5: key "unrouted" in [[flow]]: "a b" is not a topic: it must be a letter, then at most 127 letters, digits, "_", "." or "-"`,
	} {
		if _, faults := read(text); len(faults) == 0 || faults[0].Error() != want {
			t.Errorf("%s\ngot  %v\nwant %s", text, faults, want)
		}
	}
}

// The flag --plugin-source is stronger than the environment, and that than the file.
func TestPluginSource(t *testing.T) {
	path := write(t, "dormouse.toml", "[packages]\nsource = \"database\"\n")
	variables := environment(map[string]string{"DORMOUSE_PLUGIN_SOURCE": "filesystem"})
	for _, test := range []struct {
		variables func(string) string
		flag      string
		want      configs.PackageSource
	}{
		{nil, "", configs.SourceDatabase},
		{variables, "", configs.SourceFilesystem},
		{variables, "database", configs.SourceDatabase},
		{nil, "filesystem", configs.SourceFilesystem},
	} {
		c, err := configs.Load(path, test.variables, configs.Overrides{PluginSource: test.flag})
		if err != nil || c.Packages.Source != test.want {
			t.Errorf("with the flag %q the source is %q, want %q; %v", test.flag, c.Packages.Source, test.want, err)
		}
	}
	if _, err := configs.Load(path, nil, configs.Overrides{PluginSource: "files"}); err == nil || !strings.Contains(err.Error(), `--plugin-source: "files" is not "database" or "filesystem"`) {
		t.Errorf("a wrong flag: %v", err)
	}
}
