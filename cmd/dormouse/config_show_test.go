package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
)

// What config show prints reads back as the configuration that it shows; with --origin each
// value says where it was set.
func TestConfigShow(t *testing.T) {
	dir := t.TempDir()
	writeFiles(t, dir, map[string]string{
		"dormouse.toml": `[host]
log-level = "debug"
[[listener]]
address = "127.0.0.1:0"
protocol = "grpc"
[[access]]
user = "tv"
role = "call"
[packages.caps]
pids = 7
[[plugin]]
callsign = "A"
executable = "/bin/sh"
limits = { memory = "1MiB" }
environment = { X = "y", "Z.a" = "b\"c" }
[plugin.configuration]
a = [ { b = 1 }, { c = 2020-01-01 }, [] ]
d.e = 1.5
[state]
max-blobs = 7
`,
		"plugins.d/more.toml": "[[plugin]]\npackage = \"counter\"\ncallsign = \"Counter\"\nconfiguration.start = 1\n\n[[plugin]]\ncallsign = \"M\"\nbuiltin = \"Monitor\"\n",
	})
	main, more := filepath.Join(dir, "dormouse.toml"), filepath.Join(dir, "plugins.d/more.toml")
	root := filepath.Join(dir, "root")
	shown := dormouse(t, nil, "config", "show", "--config", main).expect(t, exitDone)
	again := filepath.Join(t.TempDir(), "again.toml")
	if err := os.WriteFile(again, []byte(shown.out), 0o600); err != nil {
		t.Fatal(err)
	}
	want, err := configs.Load(main, nil, configs.Overrides{})
	if err != nil {
		t.Fatal(err)
	}
	got, err := configs.Load(again, nil, configs.Overrides{})
	if err != nil {
		t.Fatalf("%v\n%s", err, shown.out)
	}
	for i := range min(len(want.Overlays), len(got.Overlays)) {
		got.Overlays[i].Keys.Source, got.Overlays[i].Keys.Line = want.Overlays[i].Keys.Source, want.Overlays[i].Keys.Line
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	dormouse(t, []string{"DORMOUSE_LISTEN=127.0.0.1:7"}, "config", "show", "--config", main, "--root", root, "-o", "json").expect(t, exitDone,
		`"key": "host.log-level",
    "value": "\"debug\"",
    "origin": "`+main+`:2"`,
		`"key": "host.listen",
    "value": "\"127.0.0.1:7\"",
    "origin": "DORMOUSE_LISTEN"`,
		`"key": "host.communicator",
    "value": "\"`+root+`/run/communicator\"",
    "origin": "--root"`,
		`"key": "access[0].role",
    "value": "\"call\"",
    "origin": "`+main+`:8"`,
		`"key": "packages.caps.pids",
    "value": "7",
    "origin": "`+main+`:10"`,
		`"key": "state.max-blobs",
    "value": "7",
    "origin": "`+main+`:20"`,
		`"key": "plugin.A.limits.memory",
    "value": "\"1MiB\"",
    "origin": "`+main+`:14"`,
		`"key": "plugin.A.environment.\"Z.a\"",
    "value": "\"b\\\"c\"",
    "origin": "`+main+`:15"`,
		`"key": "plugin.A.warm-start",
    "value": "false",
    "origin": "default"`,
		`"key": "plugin.Counter.configuration.start",
    "value": "1",
    "origin": "`+more+`:4"`,
		`"key": "plugin.M.builtin",
    "value": "\"Monitor\"",
    "origin": "`+more+`:8"`)
	dormouse(t, nil, "config", "show", "--config", main, "--origin").expect(t, exitDone, "# "+main+":2\n", "# default\n", "# "+more+":4\n")
}
