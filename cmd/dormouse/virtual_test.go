package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// broodConfig is the configuration of a host with a parent of two virtual plugins.
const broodConfig = `
[[plugin]]
callsign = "Brood"
executable = "EXAMPLES/brood"
start-mode = "activated"
on-call = "wake"
restart = { policy = "on-failure", backoff = "10ms" }
configuration = { create = ["First", "Second"] }
`

// expectStates waits until the instances have these states; "" stands for none.
func (h *testHost) expectStates(t *testing.T, want map[string]string) {
	t.Helper()
	var got map[string]string
	for late := time.Now().Add(testPatience); time.Now().Before(late); <-time.After(10 * time.Millisecond) {
		var all []instanceRecord
		if err := h.ask(t, "Controller.status", nil, &all); err != nil {
			continue
		}
		got = make(map[string]string)
		same := true
		for _, r := range all {
			got[r.Callsign] = r.State
		}
		for callsign, state := range want {
			same = same && got[callsign] == state
		}
		if same {
			return
		}
	}
	t.Fatalf("the instances are %v, want %v; the host's log is:\n%s", got, want, h.log)
}

// counts calls the method that counts in the state of an instance.
func (h *testHost) counts(t *testing.T, callsign string, want int) {
	t.Helper()
	h.dormouse(t, "call", callsign+".count").expect(t, exitDone, fmt.Sprint(want))
}

// Virtual plugins are seen, called, put to sleep and destroyed like others, with their parent.
func TestVirtualPlugins(t *testing.T) {
	requireCRIU(t)
	h := startHost(t, t.TempDir(), broodConfig)
	h.wait(t, "ready")
	h.wait(t, "hibernation is available")
	h.dormouse(t, "plugin", "list").expect(t, exitDone, "First       activated", "; a virtual plugin of Brood")
	h.dormouse(t, "plugin", "show", "Brood").expect(t, exitDone, "virtual plugins  First, Second")
	h.dormouse(t, "plugin", "show", "First").expect(t, exitDone, "virtual plugin of  Brood", "brood-First 1.0.0")
	h.dormouse(t, "plugin", "show", "First", "-o", "json").expect(t, exitDone, `"parent": "Brood"`)
	h.dormouse(t, "call", "First.who").expect(t, exitDone, `"First"`)
	h.counts(t, "First", 1)
	h.counts(t, "First", 2)
	h.counts(t, "Second", 1)

	h.dormouse(t, "plugin", "suspend", "Brood").expect(t, exitDone)
	h.dormouse(t, "plugin", "hibernate", "First").expect(t, exitFailed, "!ask for that of Brood")
	h.dormouse(t, "plugin", "hibernate", "Brood").expect(t, exitDone)
	h.dormouse(t, "plugin", "list").expect(t, exitDone, "First       hibernated", "Second      hibernated")
	h.counts(t, "First", 3)
	h.dormouse(t, "plugin", "list").expect(t, exitDone, "First       activated")
	h.dormouse(t, "plugin", "suspend", "Brood").expect(t, exitDone)
	h.dormouse(t, "plugin", "hibernate", "--all").expect(t, exitDone)
	h.dormouse(t, "plugin", "activate", "Second").expect(t, exitDone)
	h.expectStates(t, map[string]string{"Brood": "suspended", "First": "activated", "Second": "activated"})

	h.dormouse(t, "plugin", "deactivate", "Second").expect(t, exitDone)
	h.dormouse(t, "call", "Second.who").expect(t, exitFailed, "!Second")
	h.dormouse(t, "plugin", "activate", "Second").expect(t, exitDone)
	h.dormouse(t, "plugin", "clone", "First", "Copy").expect(t, exitFailed, "!virtual plugin of Brood")
	h.dormouse(t, "plugin", "destroy", "First").expect(t, exitFailed, "!it is still needed")
	h.dormouse(t, "plugin", "destroy", "Second").expect(t, exitDone)
	h.expectStates(t, map[string]string{"First": "activated", "Second": ""})
	h.dormouse(t, "call", "Brood.create", `"Second"`).expect(t, exitDone)
	h.counts(t, "Second", 1) // it is another one

	h.dormouse(t, "plugin", "deactivate", "Brood").expect(t, exitDone)
	h.expectStates(t, map[string]string{"First": "precondition", "Second": "precondition"})
	h.dormouse(t, "call", "First.who").expect(t, exitFailed, "!its parent Brood")
	h.dormouse(t, "plugin", "activate", "First").expect(t, exitFailed, "!Brood")
	h.dormouse(t, "plugin", "activate", "Brood").expect(t, exitDone)
	h.counts(t, "First", 4)
}

// Virtual plugins survive the death of their parent, of the host, and a handover to the next host;
// they wait while the parent is not configured, and come back with it.
func TestVirtualPluginsComeBack(t *testing.T) {
	root := t.TempDir()
	first := startHost(t, root, broodConfig)
	first.wait(t, "ready")
	first.dormouse(t, "call", "Brood.create", `"Third"`).expect(t, exitDone)
	first.counts(t, "Third", 1)
	active := map[string]string{"First": "activated", "Second": "activated", "Third": "activated"}
	first.expectStates(t, active)

	pid := first.show(t, "Brood").PID
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	late := time.Now().Add(testPatience)
	for now := pid; now == pid || now == 0; now = first.show(t, "Brood").PID {
		if time.Now().After(late) {
			t.Fatal("the parent is not started again")
		}
	}
	first.expectStates(t, active)
	first.counts(t, "Third", 2)

	config := first.cmd.Args[slices.Index(first.cmd.Args, "--config")+1]
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	rewrite := func(to string) {
		t.Helper()
		if err := os.WriteFile(config, []byte(to), 0o600); err != nil {
			t.Fatal(err)
		}
		first.dormouse(t, "reload").expect(t, exitDone, "Brood: ")
	}
	rewrite("")
	first.expectStates(t, map[string]string{"Brood": "", "First": "", "Second": "", "Third": ""})
	rewrite(string(text))
	first.expectStates(t, active)
	first.counts(t, "Third", 3)

	if err := first.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-first.exited
	second := startHost(t, root, broodConfig)
	second.wait(t, "ready")
	second.expectStates(t, active)
	second.counts(t, "Third", 4)
	second.dormouse(t, "call", "Brood.remove", `"Third"`).expect(t, exitDone)
	if code := second.end(t); code != exitDone {
		t.Errorf("the host ended with code %d", code)
	}
	third := startHost(t, root, broodConfig)
	third.wait(t, "ready")
	third.expectStates(t, map[string]string{"First": "activated", "Second": "activated", "Third": ""})
}

// writeBrood writes a package whose plugin makes these virtual plugins when it starts, and then may
// fail.
func writeBrood(t *testing.T, version, create string, fails bool) string {
	t.Helper()
	dir := writePackageOf(t, "brood", version, "brood", "Brood")
	path := dir + "/plugin.toml"
	text, err := os.ReadFile(path)
	if err == nil {
		err = os.WriteFile(path, append(text, fmt.Sprintf("configuration = { create = [%s], version = %q, fails = %t }\n", create, version, fails)...), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// The virtual plugins of a package's instance stay through an upgrade, are put back by a
// rollback, wait while the package is disabled, are away while it is uninstalled, and go with a
// purge.
func TestVirtualPluginsOfPackage(t *testing.T) {
	h := startHost(t, t.TempDir(), "[packages]\ntrial = \"1s\"\n")
	h.wait(t, "ready")
	active := map[string]string{"First": "activated", "Own": "activated"}
	gone := map[string]string{"Brood": "", "First": "", "Own": ""}
	v1, v2, v3 := writeBrood(t, "1.0.0", `"First"`, false), writeBrood(t, "2.0.0", `"First", "New"`, false), writeBrood(t, "3.0.0", `"First", "Newer"`, true)
	h.dormouse(t, "plugin", "install", v1, "--wait").expect(t, exitDone)
	h.dormouse(t, "call", "Brood.create", `"Own"`).expect(t, exitDone)
	h.counts(t, "Own", 1)
	h.dormouse(t, "plugin", "show", "Own").expect(t, exitDone, "package            brood")
	h.dormouse(t, "plugin", "disable", "brood", "--wait").expect(t, exitDone)
	h.expectStates(t, map[string]string{"Brood": "deactivated", "First": "precondition", "Own": "precondition"})
	for _, callsign := range []string{"Brood", "Own"} { // the host says what to do, and that is all
		if r := h.dormouse(t, "call", callsign+".create").expect(t, exitFailed, "!enable it with: dormouse plugin enable brood"); strings.Contains(r.err, "try:") {
			t.Errorf("the error for %s advises something else: %s", callsign, r.err)
		}
	}
	h.dormouse(t, "plugin", "enable", "brood", "--wait").expect(t, exitDone)
	h.expectStates(t, active)
	h.counts(t, "Own", 2)
	h.dormouse(t, "plugin", "upgrade", v2, "--wait").expect(t, exitDone)
	h.expectStates(t, map[string]string{"First": "activated", "Own": "activated", "New": "activated"})
	h.counts(t, "Own", 3)
	h.counts(t, "First", 1)
	paper := filepath.Join(t.TempDir(), "paper")
	if err := os.WriteFile(paper, []byte("whole"), 0o600); err != nil {
		t.Fatal(err)
	}
	h.dormouse(t, "state", "set", "--blob", "First", "paper", paper).expect(t, exitDone)
	h.dormouse(t, "plugin", "upgrade", v3, "--wait").expect(t, exitFailed, "!it fails, as it was told")
	h.expectStates(t, map[string]string{"Own": "precondition", "Newer": "precondition"})
	h.dormouse(t, "state", "get", "First", "count").expect(t, exitDone, "1000")
	h.dormouse(t, "state", "get", "--blob", "First", "paper").expect(t, exitDone, "spoilt")
	h.dormouse(t, "plugin", "rollback", "brood", "--wait").expect(t, exitDone)
	h.expectStates(t, map[string]string{"First": "activated", "Own": "activated", "New": "activated", "Newer": ""})
	h.counts(t, "Own", 4)
	h.counts(t, "First", 2) // the key and the blob are as the version before has left them
	h.dormouse(t, "state", "get", "--blob", "First", "paper").expect(t, exitDone, "whole")
	h.dormouse(t, "plugin", "uninstall", "brood", "--wait").expect(t, exitDone)
	h.expectStates(t, gone)
	h.dormouse(t, "plugin", "install", v1, "--wait").expect(t, exitDone)
	h.expectStates(t, active)
	h.counts(t, "Own", 5)
	h.dormouse(t, "plugin", "uninstall", "brood", "--purge", "--wait").expect(t, exitDone)
	h.dormouse(t, "plugin", "install", v1, "--wait").expect(t, exitDone)
	h.expectStates(t, map[string]string{"First": "activated", "Own": "", "New": ""})
	h.dormouse(t, "call", "Brood.create", `"Own"`).expect(t, exitDone)
	h.counts(t, "Own", 1)
}
