package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const warmCounter = `
[[plugin]]
callsign = "Counter"
executable = "EXAMPLES/counter"
start-mode = "activated"
warm-start = true
restart = { policy = "always", limit = 9, window = "1m", backoff = "10ms" }
configuration = { start = 41 }
`

// A changed limit of open files reaches a plugin that starts warm.
func TestReloadLimitsWarmStarts(t *testing.T) {
	requireCRIU(t)
	root := t.TempDir()
	limited := func(files string) string { return warmCounter + "limits = { open-files = " + files + " }\n" }
	cmd := hostCommand(t, root, limited("200"))
	h := startCommand(t, root, cmd)
	h.wait(t, "ready")
	for n, files := range []string{"500", "100"} {
		rewrite(t, configOf(cmd.Args), limited(files))
		if got := h.hangUp(t, n+1); got != "reloadedCounter: restarted, its limits differ" {
			t.Errorf("got %s", got)
		}
		for _, warm := range []bool{false, true} {
			st := h.show(t, "Counter")
			text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", st.PID))
			_, line, _ := strings.Cut(string(text), "Max open files")
			if err != nil || (st.Warm != nil) != warm || !strings.HasPrefix(strings.TrimSpace(line), files+" ") {
				t.Errorf("warm %v, want %v, with %s files: %v\n%s", st.Warm, warm, files, err, text)
			}
			h.dormouse(t, "plugin", "deactivate", "Counter").expect(t, exitDone)
			h.dormouse(t, "plugin", "activate", "Counter").expect(t, exitDone)
		}
	}
}

// golden tells which instances have a golden image.
func golden(t *testing.T, root string) (callsigns string) {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(root, "images", "*", "golden"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, dir := range found {
		names = append(names, filepath.Base(filepath.Dir(dir)))
	}
	return strings.Join(names, " ")
}

// A restart begins where the first start had come, until that is what is wrong.
func TestWarmStart(t *testing.T) {
	requireCRIU(t)
	root := t.TempDir()
	first := startHost(t, root, warmCounter)
	first.wait(t, "ready")
	cold := first.show(t, "Counter")
	if cold.Warm != nil || cold.State != "resumed" {
		t.Errorf("it is %+v", cold)
	}
	first.dormouse(t, "plugin", "explain", "Counter").expect(t, exitDone, "next start  ", "warm, from the golden image made ")
	first.dormouse(t, "call", "Counter.increment").expect(t, exitDone, `{"value":42}`)
	first.killed(t, cold.PID)
	warm := first.show(t, "Counter")
	if warm.Warm == nil || warm.Warm.Generation != 1 || warm.State != "resumed" {
		t.Errorf("it is %+v", warm)
	}
	first.dormouse(t, "plugin", "show", "Counter").expect(t, exitDone, "started ", "warm, from the golden image made ", "as generation 1")
	first.dormouse(t, "call", "Counter.increment").expect(t, exitDone, `{"value":42}`)
	if code := first.end(t); code != exitDone {
		t.Errorf("the host ended with code %d", code)
	}

	second := startHost(t, root, warmCounter)
	second.wait(t, "ready")
	if st := second.show(t, "Counter"); st.Warm == nil || st.Warm.Generation != 2 || st.Warm.Created != warm.Warm.Created {
		t.Errorf("it is %+v", st)
	}
	second.dormouse(t, "call", "Counter.get").expect(t, exitDone, `{"value":41}`)
	second.killed(t, second.show(t, "Counter").PID)
	if st := second.show(t, "Counter"); st.Warm != nil {
		t.Errorf("it is %+v", st)
	}
	second.dormouse(t, "plugin", "explain", "Counter").expect(t, exitDone,
		"next start  ", "cold: none is made before a cold start has lasted 1m0s: the plugin failed within 1m0s of a warm start: the process has exited on signal 9")
	if has := golden(t, root); has != "" {
		t.Errorf("there are golden images of %s", has)
	}
}

// A golden image goes with what it was made for.
func TestGoldenImagesFollowTheConfiguration(t *testing.T) {
	requireCRIU(t)
	root := t.TempDir()
	cmd := hostCommand(t, root, warmCounter)
	config := configOf(cmd.Args)
	h := startCommand(t, root, cmd)
	h.wait(t, "ready")
	has := func(want string) {
		t.Helper()
		if got := golden(t, root); got != want {
			t.Errorf("there are golden images of %q, want %q", got, want)
		}
	}
	h.dormouse(t, "plugin", "clone", "Counter", "Second").expect(t, exitDone)
	h.dormouse(t, "plugin", "activate", "Second").expect(t, exitDone)
	has("Counter Second")
	h.dormouse(t, "plugin", "destroy", "Second").expect(t, exitDone)
	has("Counter")

	h.dormouse(t, "plugin", "deactivate", "Counter").expect(t, exitDone)
	h.dormouse(t, "plugin", "configure", "Counter", `{"start":5}`).expect(t, exitDone)
	has("")
	h.dormouse(t, "plugin", "activate", "Counter").expect(t, exitDone)
	h.dormouse(t, "call", "Counter.get").expect(t, exitDone, `{"value":5}`)
	has("Counter")

	rewrite(t, config, strings.Replace(warmCounter, "warm-start = true", "", 1))
	if got := h.hangUp(t, 1); got != "reloadedCounter: restarted, its warm-start differs" {
		t.Errorf("got %s", got)
	}
	has("")
	rewrite(t, config, warmCounter)
	h.hangUp(t, 2)
	has("Counter")
	rewrite(t, config, "")
	h.hangUp(t, 3)
	has("")
	if _, err := os.Stat(filepath.Join(root, "persistent", "Counter")); err != nil {
		t.Errorf("what the plugin keeps is gone with it: %v", err)
	}
}
