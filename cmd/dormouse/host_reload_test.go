package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/internal/store"
)

// rewrite replaces the configuration of a host.
func rewrite(t *testing.T, path, configuration string) {
	t.Helper()
	text := strings.ReplaceAll(configuration, "EXAMPLES", examples)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// configOf is the file that hostCommand wrote.
func configOf(args []string) string {
	for i, arg := range args {
		if arg == "--config" {
			return args[i+1]
		}
	}
	return ""
}

// hangUp sends SIGHUP and returns the log line that tells what came of it.
func (h *testHost) hangUp(t *testing.T, n int) string {
	t.Helper()
	if err := h.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	late := time.After(testPatience)
	for {
		var told []string
		h.log.mu.Lock()
		for _, text := range h.log.lines {
			var line struct {
				Message string
				Changes []string
			}
			if json.Unmarshal([]byte(text), &line) == nil && (line.Message == "reloaded" || strings.HasPrefix(line.Message, "cannot reload")) {
				told = append(told, line.Message+strings.Join(line.Changes, "; "))
			}
		}
		changed := h.log.changed
		h.log.mu.Unlock()
		if len(told) >= n {
			return told[n-1]
		}
		select {
		case <-changed:
		case <-h.exited:
			t.Fatalf("the host ended; its log is:\n%s", h.log)
		case <-late:
			t.Fatalf("nothing was reloaded; the log is:\n%s", h.log)
		}
	}
}

const beforeReload = `
[[plugin]]
callsign = "Counter"
executable = "EXAMPLES/counter"
start-mode = "activated"
configuration = { start = 41 }

[[plugin]]
callsign = "Gone"
executable = "EXAMPLES/counter"
start-mode = "activated"

[[plugin]]
callsign = "Same"
executable = "EXAMPLES/counter"
start-mode = "activated"
`

const afterReload = `
[host]
log-level = "debug"

[flows]
wake-messages = 3

[[plugin]]
callsign = "Counter"
executable = "EXAMPLES/counter"
start-mode = "activated"
configuration = { start = 7 }

[[plugin]]
callsign = "New"
executable = "EXAMPLES/echo"
start-mode = "activated"

[[plugin]]
callsign = "Same"
executable = "EXAMPLES/counter"
start-mode = "activated"
call-timeout = "5s"
`

func TestReload(t *testing.T) {
	root := t.TempDir()
	cmd := hostCommand(t, root, beforeReload)
	config := configOf(cmd.Args)
	m := newManager(t)
	cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+m.address())
	h := startCommand(t, root, cmd)
	m.expect("READY=1")
	same := h.show(t, "Same").PID

	rewrite(t, config, afterReload)
	want := "reloadedhost: log-level differs, takes effect with the next start; flows: wake-messages differs, takes effect with the next start; Counter: restarted, its configuration differs; " +
		"Gone: removed; New: added and started; Same: adjusted, its call-timeout differs"
	if got := h.hangUp(t, 1); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	m.expect("RELOADING=1\nMONOTONIC_USEC=")
	m.expect("READY=1")
	h.dormouse(t, "call", "Counter.get").expect(t, exitDone, `{"value":7}`)
	h.dormouse(t, "plugin", "list").expect(t, exitDone, "New         activated")
	h.dormouse(t, "plugin", "show", "Gone").expect(t, exitFailed)
	if now := h.show(t, "Same").PID; now != same {
		t.Errorf("what was only adjusted has process %d instead of %d", now, same)
	}
	for _, dir := range []string{filepath.Join(root, "run"), shortRunDirPath(root)} {
		if _, err := os.Stat(filepath.Join(dir, "Gone")); !os.IsNotExist(err) {
			t.Errorf("the run directory of what is gone is left: %v", err)
		}
	}

	// What can't be is refused as a whole, and all that is wrong is said.
	rewrite(t, config, strings.Replace(afterReload, "[[plugin]]\ncallsign = \"New\"", "[[plugin]]\ncallsgin = \"New\"", 1)+"\nrequires = [\"controller\"]\n")
	got := h.hangUp(t, 2)
	for _, part := range []string{"the configuration stays as it was", `unknown key "callsgin"`, `"controller"`} {
		if !strings.Contains(got, part) {
			t.Errorf("%q does not say %q", got, part)
		}
	}
	h.dormouse(t, "plugin", "list").expect(t, exitDone, "New         activated")
	if now := h.show(t, "Same").PID; now != same {
		t.Errorf("a refused configuration started process %d", now)
	}
	if code := h.end(t); code != exitDone {
		t.Errorf("the host ended with code %d", code)
	}
	if left := processesOf(t, root); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

// A stop-timeout that a reload has adjusted counts for the plugin that runs.
func TestReloadAdjustsWhatRuns(t *testing.T) {
	const stubborn = `
[[plugin]]
callsign = "Stubborn"
executable = "EXAMPLES/rogue"
arguments = ["stubborn"]
start-mode = "activated"
probe = false
stop-timeout = "1m"
`
	root := t.TempDir()
	cmd := hostCommand(t, root, stubborn)
	h := startCommand(t, root, cmd)
	h.wait(t, "ready")
	rewrite(t, configOf(cmd.Args), strings.Replace(stubborn, "1m", "400ms", 1))
	if got := h.hangUp(t, 1); got != "reloadedStubborn: adjusted, its stop-timeout differs" {
		t.Errorf("got %s", got)
	}
	begun := time.Now()
	h.dormouse(t, "plugin", "deactivate", "Stubborn").expect(t, exitDone)
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("it took %v", took)
	}
}

// A clone is there in the next host, and outlives a reload.
func TestCloneOutlivesTheHost(t *testing.T) {
	root := t.TempDir()
	kept, err := store.Open(filepath.Join(root, "store.db"), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	clone := map[string]any{"version": 1, "of": "Counter", "later": "a key of another version", "plugin": map[string]any{
		"Callsign": "Copy", "Executable": filepath.Join(examples, "counter"), "Configuration": map[string]any{"start": 5},
	}}
	if err := store.BucketOf[map[string]any](kept, "clones").Put("Copy", clone); err != nil {
		t.Fatal(err)
	}
	if err := kept.Close(); err != nil {
		t.Fatal(err)
	}
	cmd := hostCommand(t, root, beforeReload)
	h := startCommand(t, root, cmd)
	h.wait(t, "ready")
	h.dormouse(t, "plugin", "activate", "Copy").expect(t, exitDone)
	h.dormouse(t, "call", "Copy.get").expect(t, exitDone, `{"value":5}`)
	copied := h.show(t, "Copy").PID
	rewrite(t, configOf(cmd.Args), afterReload)
	h.hangUp(t, 1)
	if now := h.show(t, "Copy").PID; now != copied {
		t.Errorf("after a reload it has process %d instead of %d", now, copied)
	}
}

// A plugin that ends again and again is given up, also across hosts, and each
// end is documented.
func TestGivenUp(t *testing.T) {
	const crashing = `
[[plugin]]
callsign = "Counter"
executable = "EXAMPLES/counter"
start-mode = "activated"
restart = { policy = "on-failure", limit = 2, window = "10m", backoff = "10ms" }
`
	root := t.TempDir()
	h := startHost(t, root, crashing)
	h.wait(t, "ready")
	pid := h.show(t, "Counter").PID
	for range 2 {
		pid = h.killed(t, pid)
	}
	h.end(t)

	h = startHost(t, root, crashing)
	h.wait(t, "ready")
	if err := syscall.Kill(h.show(t, "Counter").PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	h.wait(t, "given up after 2 restarts within 10m0s, activate it to try again")
	var status string
	for late := time.Now().Add(testPatience); !strings.Contains(status, "given up after 2 restarts"); {
		if status = h.dormouse(t, "plugin", "list").out; time.Now().After(late) {
			t.Fatalf("the list does not say that it is given up:\n%s", status)
		}
	}
	reports, err := filepath.Glob(filepath.Join(root, "post-mortem", "Counter-*-failure", "report.json"))
	if err != nil || len(reports) != 3 {
		t.Fatalf("there are %q, %v; the log is:\n%s", reports, err, h.log)
	}
	for _, path := range reports {
		text, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(text), `"exit": "on signal 9 (killed)"`) {
			t.Errorf("%s is %s, %v", path, text, err)
		}
	}
	h.dormouse(t, "plugin", "activate", "Counter").expect(t, exitDone)
	if pid := h.killed(t, h.show(t, "Counter").PID); pid == 0 {
		t.Error("it is not started again")
	}
}

// killed kills the plugin's process and returns the one that takes its place.
func (h *testHost) killed(t *testing.T, pid int) int {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	for late := time.Now().Add(testPatience); time.Now().Before(late); {
		// One that is killed before it is active has failed to start.
		if now := h.show(t, "Counter"); now.PID != 0 && now.PID != pid && now.State == "resumed" {
			return now.PID
		}
	}
	t.Fatalf("it was not started again; the log is:\n%s", h.log)
	return 0
}

// A store that can't be read keeps the host from starting and stays as it is.
func TestDamagedStore(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "store.db")
	damaged := strings.Repeat("no store", 4096)
	if err := os.WriteFile(path, []byte(damaged), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := hostCommand(t, root, bothExamples).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "cannot open "+path+": the file is damaged") || strings.Contains(string(out), "activation") {
		t.Errorf("got %v\n%s", err, out)
	}
	if text, err := os.ReadFile(path); string(text) != damaged || err != nil {
		t.Errorf("the store was changed (%v)", err)
	}
}

// A change of what is bound to an engine elsewhere, of the bounds of flows, or of how long tasks are
// kept, is told as one for the next start.
func TestChangesForNextStart(t *testing.T) {
	before, after := configs.Default(), configs.Default()
	after.Flows.Remotes = []configs.Remote{{Topic: "frames"}}
	after.Flows.MaxMessages++
	after.Tasks.KeepCount++
	got := hostChangesForNextStart(before, after)
	want := []string{
		"flows: max-messages differs, takes effect with the next start", "flows: remote differs, takes effect with the next start",
		"tasks: keep-count differs, takes effect with the next start",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
