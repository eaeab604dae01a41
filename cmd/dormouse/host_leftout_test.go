package main

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dormouse/hibernate/hibernatetest"
)

const mainOfLeftOut = `
[host]
on-host-exit = "adopt"

[[plugin]]
callsign = "Counter"
executable = "EXAMPLES/counter"
start-mode = "activated"
`

const dropInOfLeftOut = `
[[plugin]]
callsign = "Awake"
executable = "EXAMPLES/counter"
sleep = "checkpoint"
start-mode = "activated"
configuration = { start = 10 }

[[plugin]]
callsign = "Asleep"
executable = "EXAMPLES/counter"
sleep = "checkpoint"
configuration = { start = 20 }
`

// A drop-in that is damaged between two hosts costs its own plugins only. What is kept of
// them stays, and is there again after a reload of the mended file.
func TestBadDropInCostsItsOwnPlugins(t *testing.T) {
	requireCRIU(t)
	if os.Geteuid() != 0 {
		hibernatetest.SkipOrFail(t, errors.New("only root can adopt"))
	}
	root := t.TempDir()
	cmd := hostCommand(t, root, mainOfLeftOut)
	config := configOf(cmd.Args)
	dropIn := filepath.Join(filepath.Dir(config), "plugins.d", "more.toml")
	if err := os.Mkdir(filepath.Dir(dropIn), 0o700); err != nil {
		t.Fatal(err)
	}
	rewrite(t, dropIn, dropInOfLeftOut)
	first := startCommand(t, root, cmd)
	first.wait(t, "ready")
	first.dormouse(t, "call", "Awake.increment").expect(t, exitDone)
	awake := first.show(t, "Awake").PID
	first.dormouse(t, "plugin", "activate", "Asleep").expect(t, exitDone)
	first.dormouse(t, "call", "Asleep.increment").expect(t, exitDone)
	first.dormouse(t, "plugin", "suspend", "Asleep").expect(t, exitDone)
	first.dormouse(t, "plugin", "hibernate", "Asleep").expect(t, exitDone)
	persistent := filepath.Join(root, "persistent", "Asleep", "kept")
	if err := os.MkdirAll(filepath.Dir(persistent), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(persistent, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	image := filepath.Join(root, "images", "Asleep", "image")
	long := time.Now().Add(-365 * 24 * time.Hour)
	if err := os.Chtimes(image, long, long); err != nil {
		t.Fatal(err)
	}
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	first.exitCode(t)

	rewrite(t, dropIn, dropInOfLeftOut+"[[plugin\n")
	place := dropIn + ":14"
	again := command(t.Context(), nil, cmd.Args[1:]...)
	second := startCommand(t, root, again)
	second.wait(t, "ready")
	told := second.wait(t, "left out a file of the configuration, and keep all that belongs to its plugins: "+place+
		": not valid TOML: expected '.' or ']' to end table name, but got '\\n' instead; its plugins are missing: Asleep, Awake, and maybe others")
	if told["level"] != "error" || told["file"] != dropIn {
		t.Errorf("it is logged as %v", told)
	}
	second.dormouse(t, "call", "Counter.get").expect(t, exitDone, `{"value":0}`)
	second.dormouse(t, "plugin", "list").expect(t, exitDone, "Counter", "missing: Asleep, Awake and maybe others, for what is wrong at "+place)
	for _, args := range [][]string{{"plugin", "show", "Asleep"}, {"plugin", "explain", "Asleep"}, {"plugin", "activate", "Asleep"}, {"call", "Awake.get"}} {
		second.dormouse(t, args...).expect(t, exitFailed, "!the file that defines it could not be used when the host started: see "+place)
	}
	second.dormouse(t, "plugin", "show", "Elsewhere").expect(t, exitFailed, "!the file that may define it")
	second.dormouse(t, "plugin", "clone", "Counter", "Asleep").expect(t, exitFailed, "!the file that defines it could not be used")
	second.dormouse(t, "reload").expect(t, exitFailed, "!the configuration stays as it was", "!"+place)
	dormouse(t, nil, "config", "check", "--config", config).expect(t, exitFailed, place)
	dormouse(t, nil, "doctor", "--config", config).expect(t, exitFailed, "a host that starts now lacks the plugins")
	if err := syscall.Kill(awake, 0); err != nil {
		t.Errorf("the plugin that ran: %v", err)
	}
	for _, path := range []string{image, persistent} {
		if _, err := os.Stat(path); err != nil {
			t.Error(err)
		}
	}

	rewrite(t, dropIn, dropInOfLeftOut)
	second.dormouse(t, "reload").expect(t, exitDone, "Asleep: added, hibernated as before", "Awake: added, running as before")
	if now := second.show(t, "Awake").PID; now != awake {
		t.Errorf("the plugin that ran is process %d instead of %d", now, awake)
	}
	second.dormouse(t, "call", "Awake.get").expect(t, exitDone, `{"value":11}`)
	second.dormouse(t, "plugin", "activate", "Asleep").expect(t, exitDone, "Asleep woken")
	second.dormouse(t, "call", "Asleep.get").expect(t, exitDone, `{"value":21}`)
	if list := second.dormouse(t, "plugin", "list").out; strings.Contains(list, "missing") {
		t.Errorf("the list says after the reload:\n%s", list)
	}

	// At a reload the plugins of a bad file go on, and so does all else.
	rewrite(t, dropIn, dropInOfLeftOut+"[[plugin\n")
	rewrite(t, config, strings.Replace(mainOfLeftOut, "Counter", "Other", 1))
	second.dormouse(t, "reload").expect(t, exitFailed, "!"+place)
	second.dormouse(t, "plugin", "list").expect(t, exitDone, "Counter", "Awake", "Asleep")
	if now := second.show(t, "Awake").PID; now != awake {
		t.Errorf("after a reload that failed the plugin is process %d instead of %d", now, awake)
	}
	rewrite(t, config, mainOfLeftOut)
	rewrite(t, dropIn, dropInOfLeftOut)
	if code := second.end(t); code != exitDone {
		t.Errorf("the host ended with code %d", code)
	}
	if left := processesOf(t, root); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

// A fault in the main file keeps the host from starting, with all that is wrong.
func TestBadMainFile(t *testing.T) {
	out, err := hostCommand(t, t.TempDir(), mainOfLeftOut+"orde = 1\n").CombinedOutput()
	if err == nil || !strings.Contains(string(out), `unknown key "orde"`) || json.Valid(out) {
		t.Errorf("got %v\n%s", err, out)
	}
}
