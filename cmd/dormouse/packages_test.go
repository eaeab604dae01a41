package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// writePackageOf writes a directory with a package whose instance runs an example, and returns
// its path.
func writePackageOf(t *testing.T, name, version, example, callsign string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), name)
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(filepath.Join(examples, example))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "bin", example), program, 0o755)
	}
	text := "name = \"" + name + "\"\nversion = \"" + version + "\"\n" +
		"\n[program]\nlinux-amd64 = \"bin/" + example + "\"\nlinux-arm64 = \"bin/" + example + "\"\n" +
		"\n[[instance]]\ncallsign = \"" + callsign + "\"\nstart-mode = \"activated\"\n"
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "plugin.toml"), []byte(text), 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// The verbs about packages take a package through its whole life.
func TestPackageVerbs(t *testing.T) {
	h := startHost(t, t.TempDir(), "")
	h.wait(t, "ready")
	first := writePackageOf(t, "clock", "1.0.0", "counter", "Clock")
	h.dormouse(t, "package", "list").expect(t, exitDone, "no package is installed")
	h.dormouse(t, "plugin", "history").expect(t, exitDone, "no operation on a package has ended")
	h.dormouse(t, "plugin", "install", first, "--wait").expect(t, exitDone, "clock 1.0.0: install done")
	h.dormouse(t, "plugin", "list").expect(t, exitDone, "Clock ", "PACKAGE  VERSION  ORIGIN  STATUS", "clock    1.0.0    local   INSTALLED")
	h.dormouse(t, "plugin", "show", "clock").expect(t, exitDone, "package   clock", "instance  Clock, ", "you can ")
	h.dormouse(t, "plugin", "show", "Clock").expect(t, exitDone, "callsign ", "package        clock")
	h.dormouse(t, "plugin", "restart", "clock").expect(t, exitDone, "Clock started anew: ")
	h.dormouse(t, "plugin", "upgrade", "clock").expect(t, exitFailed, "!cannot upgrade clock: ", "!name the archive, directory or address")
	h.dormouse(t, "plugin", "rollback", "clock").expect(t, exitFailed, "!only a failed upgrade can be rolled back")
	h.dormouse(t, "plugin", "disable", "clock", "--wait").expect(t, exitDone, "disable done")
	h.dormouse(t, "package", "list").expect(t, exitDone, "DISABLED")
	h.dormouse(t, "plugin", "enable", "clock", "--wait").expect(t, exitDone, "enable done")
	h.dormouse(t, "plugin", "uninstall", "nothing", "clock", "--wait").expect(t, exitFailed, "!cannot uninstall nothing: ", "clock 1.0.0: uninstall done")
	h.dormouse(t, "plugin", "history", "clock").expect(t, exitDone, "install ", "uninstall ")
	var history []packageEnd
	if err := json.Unmarshal([]byte(h.dormouse(t, "plugin", "history", "-o", "json").out), &history); err != nil || len(history) == 0 || history[0].To != "1.0.0" {
		t.Errorf("%+v, %v", history, err)
	}
	h.dormouse(t, "package", "sync", "--dry-run").expect(t, exitDone, "database and file system agree")
	h.dormouse(t, "package", "trash").expect(t, exitDone)
	h.dormouse(t, "package", "browse").expect(t, exitFailed, "!set catalogue in [packages]")
}

// A word without a slash is the name of a package, unless it ends as an archive does.
func TestPathOfSource(t *testing.T) {
	for source, want := range map[string]bool{
		"clock": false, "clock.tar.zst": true, "./clock": true, "/srv/clock": true, "dir/clock.tgz": true,
		"oci://host/clock:1": false, "https://host/clock.tar.gz": false, "clock-1.0.tar.gz": true,
	} {
		path, is := pathOfSource(source)
		if is != want || is && !filepath.IsAbs(path) {
			t.Errorf("%s: %q, %v", source, path, is)
		}
	}
}

// A topic that is bound to an engine elsewhere is among the flows, with why its messages wait.
func TestFlowListOfBoundTopic(t *testing.T) {
	h := startHost(t, t.TempDir(), "[[flows.remote]]\ntopic = \"frames\"\nnats = \"nats://127.0.0.1:1\"\nsubject = \"tv.frames\"\n")
	h.wait(t, "ready")
	for late := time.Now().Add(testPatience); ; <-time.After(10 * time.Millisecond) {
		var all []flowRecord
		if err := h.ask(t, "Flows.list", nil, &all); err == nil && len(all) == 1 && strings.Contains(all[0].Why, "cannot reach") {
			break
		}
		if time.Now().After(late) {
			t.Fatal("the host does not say why the topic waits")
		}
	}
	h.dormouse(t, "flow", "list").expect(t, exitDone, "remote/frames  remote  -", "cannot reach the NATS server")
	h.dormouse(t, "flow", "list", "-o", "json").expect(t, exitDone, `"kind": "remote"`, `"subject": "tv.frames"`)
	h.dormouse(t, "flow", "show", "remote/frames").expect(t, exitDone, "subject", "tv.frames", "reached", "no", "cannot reach the NATS server")
	h.dormouse(t, "flow", "show", "remote/none").expect(t, exitFailed, "!no [[flows.remote]] binds the topic")
}

// The verbs about flows set states by name, and say why nothing is published.
func TestFlowVerbs(t *testing.T) {
	h := startHost(t, t.TempDir(), "")
	h.wait(t, "ready")
	h.dormouse(t, "flow", "list").expect(t, exitDone, "no package declares a flow")
	h.dormouse(t, "flow", "pause", "texts").expect(t, exitDone, "texts is paused")
	h.dormouse(t, "flow", "list").expect(t, exitDone, "texts  -     paused")
	h.dormouse(t, "flow", "publish", "nothing", "text").expect(t, exitFailed, "!cannot publish to nothing: ")
	h.dormouse(t, "flow", "publish", "nothing", "@/nonexistent/data").expect(t, exitFailed, "!cannot read /nonexistent/data: no such file")
	h.dormouse(t, "flow", "dead", "list", "texts").expect(t, exitDone, "texts has no dead letters")
	h.dormouse(t, "flow", "dead", "show", "texts", "1").expect(t, exitFailed, "!cannot show the dead letter 1 of texts: the message is not in the queue")
	h.dormouse(t, "flow", "dead", "retry", "texts").expect(t, exitUsage, "!either the KEYs of dead letters or --all")
	h.dormouse(t, "flow", "dead", "show", "texts", "x").expect(t, exitUsage, "!is not the KEY of a dead letter")
	if out := h.dormouse(t, "flow", "show", "texts", "-o", "json").out; !strings.Contains(out, `"state": "paused"`) {
		t.Error(out)
	}
}

// A status names the phase and the version once.
func TestPackageStatusText(t *testing.T) {
	for want, r := range map[string]installedPackage{
		"INSTALLED":                               {Status: "INSTALLED", Version: "1.0.0"},
		"INSTALLING (trial)":                      {Status: "INSTALLING (trial)", Phase: "trial", Target: "2.0.0", Version: "2.0.0"},
		"INSTALLING (probing), 2.0.0":             {Status: "INSTALLING (probing)", Phase: "probing", Target: "2.0.0"},
		"INSTALLED (upgrade to 2.0.0: unpacking)": {Status: "INSTALLED (upgrade to 2.0.0: unpacking)", Phase: "unpacking", Target: "2.0.0", Version: "1.0.0"},
		"PENDING, waiting":                        {Status: "PENDING", Phase: "waiting"},
	} {
		if got := r.statusText(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	failed := installedPackage{Name: "p"}
	if err := json.Unmarshal([]byte(`{"name":"p","failure":{"verb":"install","phase":"fetching","reason":"x"}}`), &failed); err != nil {
		t.Fatal(err)
	}
	if text := failed.detailsText(); !strings.Contains(text, "install, fetching") {
		t.Errorf("without a version: %s", text)
	}
}

// What becomes of the messages of a flow is said in words; one that nothing declares has none.
func TestFlowEffectText(t *testing.T) {
	for want, f := range map[string]flowRecord{
		"no package declares it":         {Effect: "unknown", Why: "no package declares it"},
		"messages are processed":         {Effect: "processed"},
		"messages are queued: P is down": {Effect: "queued", Why: "P is down"},
	} {
		if got := f.effectText(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// The end of an operation names the versions that it is about, if there are any.
func TestPackageEndText(t *testing.T) {
	for want, e := range map[string]packageEnd{
		"a 1.0.0 → 2.0.0: upgrade done, 0.00 s": {Package: "a", From: "1.0.0", To: "2.0.0", Verb: "upgrade", Result: "done"},
		"a 1.0.0: uninstall done, 0.00 s":       {Package: "a", From: "1.0.0", Verb: "uninstall", Result: "done"},
		"a: uninstall done, 0.00 s":             {Package: "a", Verb: "uninstall", Result: "done"},
	} {
		if got := e.text(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
