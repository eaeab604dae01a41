package manifest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"dormouse/configs"
	"dormouse/shell"
)

const whole = `
name = "counter"
version = "1.2.0-rc.1+b5"
description = "Counts."
provides = ["counter 1.2.0", "org.rdk.Counter 2.0.0"]
uses = ["clock ^1.2", "tuner >=1.0, <3"]
schema = "share/schema.json"
data = 3
tags = ["counting"]

[program]
linux-amd64 = "bin/amd64/counter"
linux-arm64 = "bin/arm64/counter"

[[instance]]
callsign = "Counter"
start-mode = "activated"
environment = { DEBUG = "1" }
limits = { memory = "64MiB", pids = 9 }
control = ["Tuner"]
configuration = { start = 41 }

[[instance]]
callsign = "Other"
executable = "other"
web-ui = "share/ui"
limits = { memory = "32MiB", swap = "0", pids = 99 }
configuration.start = 1

[[type]]
name = "adder"
version = "1.1.0"
methods = { add = "share/schema.json", total = "" }

[[use]]
type = "clock"
tags = ["!slow"]
range = "^1.2"
parameter = "clock"
required = true

[[flow]]
name = "ticks"
kind = "source"
gives = ["tick"]

[[flow]]
name = "shown"
kind = "sink"
instance = "other"
virtual = "Shown"
takes = ["tick"]
`

const schemaText = `{"type": "object", "properties": {"start": {"type": "integer", "minimum": 0}}, "required": ["start"]}`

// writePackage writes a package with that manifest, and all files that `whole` names.
func writePackage(t *testing.T, text string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{
		FileName: text, "bin/amd64/counter": "", "bin/arm64/counter": "", "other": "", "share/schema.json": schemaText, "share/ui/index.html": "",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestManifest(t *testing.T) {
	dir := writePackage(t, whole)
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	ticks, shown := configs.DefaultFlow(), configs.DefaultFlow()
	ticks.Name, ticks.Kind, ticks.Instance, ticks.Gives = "ticks", configs.FlowSource, "Counter", []string{"tick"}
	shown.Name, shown.Kind, shown.Instance, shown.Virtual, shown.Takes = "shown", configs.FlowSink, "Other", "Shown", []string{"tick"}
	want := Manifest{
		Name: "counter", Version: "1.2.0-rc.1+b5", Description: "Counts.",
		Provides: []Provided{{"counter", "1.2.0"}, {"org.rdk.Counter", "2.0.0"}},
		Uses:     []Used{{"clock", "^1.2"}, {"tuner", ">=1.0, <3"}},
		Programs: map[string]string{"linux-amd64": "bin/amd64/counter", "linux-arm64": "bin/arm64/counter"},
		Profile: shell.Profile{
			Tags: []string{"counting"},
			Provides: []shell.Type{{Name: "counter", Version: "1.2.0"}, {Name: "org.rdk.Counter", Version: "2.0.0"}, {
				Name: "adder", Version: "1.1.0", Methods: []shell.TypeMethod{{Name: "add", Params: json.RawMessage(schemaText)}, {Name: "total"}},
			}},
			Uses: []shell.Use{{Type: "clock", Tags: []string{"!slow"}, Range: "^1.2", Parameter: "clock", Required: true}},
		},
		SchemaFile: "share/schema.json", Data: 3,
		Flows:      []configs.Flow{ticks, shown},
		Privileges: Privileges{Limits: configs.Limits{Memory: 64 << 20, Pids: 99, CPUWeight: 100}, Environment: []string{"DEBUG"}, Subsystems: []string{"Tuner"}},
	}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreFields(Manifest{}, "schema", "Instances")); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	plugins, err := got.Plugins(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	counter, other := configs.DefaultPlugin(), configs.DefaultPlugin()
	counter.Callsign, counter.Executable, counter.StartMode = "Counter", filepath.Join(dir, want.Programs[Platform()]), configs.StartActivated
	counter.Environment, counter.Controls = map[string]string{"DEBUG": "1"}, []string{"Tuner"}
	counter.Limits, counter.Configuration = configs.Limits{Memory: 64 << 20, Pids: 9}, map[string]any{"start": int64(41)}
	other.Callsign, other.Executable, other.WebUI = "Other", filepath.Join(dir, "other"), filepath.Join(dir, "share/ui")
	other.Limits, other.Configuration = configs.Limits{Memory: 32 << 20, Swap: new(configs.Bytes), Pids: 99}, map[string]any{"start": int64(1)}
	if diff := cmp.Diff([]configs.Plugin{counter, other}, plugins); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
