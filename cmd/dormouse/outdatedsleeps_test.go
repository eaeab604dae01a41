package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sleepers is a configuration of counters: one that stays as it is, and one for each kind of
// key that a plugin is started with.
func sleepers(executable, argument, variable string, openFiles, start int) string {
	text := ""
	for callsign, keys := range map[string]string{
		"Same":          "",
		"Executable":    fmt.Sprintf("executable = %q\n", executable),
		"Arguments":     fmt.Sprintf("arguments = [%q]\n", argument),
		"Environment":   fmt.Sprintf("environment = { FLAVOR = %q }\n", variable),
		"Limits":        fmt.Sprintf("limits = { open-files = %d }\n", openFiles),
		"Configuration": fmt.Sprintf("configuration = { start = %d }\n", start),
	} {
		if !strings.Contains(keys, "executable") {
			keys += "executable = \"EXAMPLES/counter\"\n"
		}
		text += fmt.Sprintf("[[plugin]]\ncallsign = %q\nresumed = false\nsleep = \"checkpoint\"\n%s", callsign, keys)
	}
	return text
}

// procText returns a file of the plugin's process.
func (h *testHost) procText(t *testing.T, callsign, name string) string {
	t.Helper()
	path := fmt.Sprintf("/proc/%d/%s", h.show(t, callsign).PID, name)
	if name == "exe" {
		target, err := os.Readlink(path)
		if err != nil {
			t.Fatal(err)
		}
		return target
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// After a restart of the host, what sleeps with another configuration than the files have is
// woken to end, and started with what they have. While it can't be woken it sleeps on and says
// so. What sleeps with the same configuration sleeps on.
func TestSleepIsHeldAgainstTheConfiguration(t *testing.T) {
	requireCRIU(t)
	root, other := t.TempDir(), copyOfCounter(t)
	changed := []string{"Executable", "Arguments", "Environment", "Limits", "Configuration"}
	all := append([]string{"Same"}, changed...)
	before := strings.ReplaceAll(sleepers(filepath.Join("EXAMPLES", "counter"), "old", "old", 500, 1), "EXAMPLES", examples)
	after := strings.ReplaceAll(sleepers(other, "new", "new", 600, 7), "EXAMPLES", examples)

	h := startHost(t, root, before)
	h.wait(t, "ready")
	h.dormouse(t, append([]string{"plugin", "activate"}, all...)...).expect(t, exitDone)
	for _, callsign := range all {
		h.dormouse(t, "call", callsign+".increment", `{"by":100}`).expect(t, exitDone)
	}
	h.dormouse(t, "plugin", "hibernate", "--all").expect(t, exitDone, "!6 of 6 done")
	h.end(t)

	h = startCommand(t, root, hostCommand(t, root, after, "--criu", "/nowhere/criu"))
	h.wait(t, "ready")
	for _, callsign := range changed {
		if r := h.show(t, callsign); r.State != "hibernated" || !strings.Contains(r.Error, "/nowhere/criu") {
			t.Errorf("without CRIU %s is %s with the error %q", callsign, r.State, r.Error)
		}
	}
	h.dormouse(t, "plugin", "explain", "Limits").expect(t, exitDone, "It will wake only to end, and then start anew")
	h.dormouse(t, "call", "Limits.get").expect(t, exitFailed, "!hibernated")
	h.end(t)

	h = startHost(t, root, after)
	h.wait(t, "ready")
	for _, callsign := range changed {
		r := h.show(t, callsign)
		if r.State != "suspended" || len(r.Lost) > 0 {
			t.Errorf("%s is %s: %s", callsign, r.State, r.Error)
		}
		want := `{"value":0}`
		if callsign == "Configuration" {
			want = `{"value":7}`
		}
		h.dormouse(t, "call", callsign+".get").expect(t, exitDone, want)
	}
	for _, has := range []struct{ callsign, file, text string }{
		{"Executable", "exe", other},
		{"Arguments", "cmdline", "new"},
		{"Environment", "environ", "FLAVOR=new"},
		{"Limits", "limits", "Max open files            600"},
	} {
		if text := h.procText(t, has.callsign, has.file); !strings.Contains(text, has.text) {
			t.Errorf("%s has no %q in %s:\n%s", has.callsign, has.text, has.file, text)
		}
	}
	if r := h.show(t, "Same"); r.State != "hibernated" {
		t.Errorf("Same is %s", r.State)
	}
	h.dormouse(t, "plugin", "wake", "Same").expect(t, exitDone, "Same woken")
	h.dormouse(t, "call", "Same.get").expect(t, exitDone, `{"value":100}`)
}
