package process

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dormouse/shell"
)

func TestEvidenceOfTheLiving(t *testing.T) {
	r := newRig(t, rogue())
	if e := r.Evidence(); e.PID != 0 || e.Log == nil && len(e.Log) != 0 {
		t.Errorf("before the start there is %+v", e)
	}
	r.activate()
	call[string](r, "print", `{"text":"here\u001b[31m I am"}`)
	r.log.await(t, "here", "stdout")
	r.log.await(t, "here", "stderr")
	e := r.Evidence()
	if pid := r.ProcessFigures().PID; e.PID != pid || e.Exit != "" || time.Since(e.Begun) > patience {
		t.Errorf("got pid %d, exit %q, begun %v; the program is %d", e.PID, e.Exit, e.Begun, pid)
	}
	for name, want := range map[string]string{
		"status": "Name:\trogue", "smaps_rollup": "Pss:", "limits": "Max open files", "tasks": fmt.Sprint(e.PID),
	} {
		if !strings.Contains(e.Files[name], want) {
			t.Errorf("%s has no %q: %q", name, want, e.Files[name])
		}
	}
	if log := strings.Join(e.Log, "\n"); !strings.Contains(log, "stdout here\uFFFD[31m I am") || !strings.Contains(log, "stderr here") {
		t.Errorf("the log is %q", log)
	}
}

func TestEvidenceOfTheDead(t *testing.T) {
	r := newRig(t, rogue())
	r.activate()
	pid := r.ProcessFigures().PID
	lines := strings.TrimSpace(strings.Repeat(`all is well\n`, 300)) + "so far"
	_, _ = r.Invoke(r.contextFor(patience), shell.Call{Method: "exit", Params: []byte(`{"status":7,"text":"` + lines + `"}`)})
	if err := receive(t, r.sink.exits); !errors.Is(err, shell.ErrExited) {
		t.Errorf("it told %v", err)
	}
	e := r.Evidence()
	if e.Exit != "with status 7" || e.PID != pid || e.Files["status"] != "" {
		t.Errorf("got exit %q, pid %d, status %q; the program was %d", e.Exit, e.PID, e.Files["status"], pid)
	}
	if len(e.Log) != 200 || !strings.HasSuffix(e.Log[0], "stderr all is well") || !strings.HasSuffix(e.Log[200-1], "stderr so far") {
		t.Errorf("%d lines, from %q to %q", len(e.Log), e.Log[0], e.Log[len(e.Log)-1])
	}
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Fatal(err)
	}
	if e := r.Evidence(); len(e.Log) != 200 || e.Exit != "" {
		t.Errorf("after the end there are %d lines, exit %q", len(e.Log), e.Exit)
	}
}

func TestCorePath(t *testing.T) {
	for pattern, want := range map[string]string{
		"":                          "",
		"|/lib/systemd/coredump %P": "",
		"@/run/core.socket":         "",
		"core":                      "core*",
		"core.%p":                   "core.7",
		"/var/core/%e-%P-%s-%t":     "/var/core/a-very-long-nam-4711-*-**",
		"/c/%%p/%h.%p":              "/c/%p/*.7",
		"odd%":                      "odd%*",
		`/c/[a]*?\%p`:               `/c/\[a]\*\?\\7`,
	} {
		if got := coreFileGlob(pattern, "a-very-long-name", 7, 4711); got != want {
			t.Errorf("%q names %q, want %q", pattern, got, want)
		}
	}
}

func TestSubstitution(t *testing.T) {
	c := rogue("", "--data=%datapath%", "%callsign%", "100%")
	c.Environment = map[string]string{"KEPT": "%persistentpath%", "HERE": "%volatilepath%"}
	r := newRig(t, c)
	h := r.host
	h.DataDir = "/share"
	r.useHost(h)
	r.activate()
	proc := filepath.Join("/proc", itoa(r.ProcessFigures().PID))
	line, err := os.ReadFile(filepath.Join(proc, "cmdline"))
	if want := "\x00\x00--data=/share/rogue\x00Rogue\x00100%\x00"; err != nil || !strings.HasSuffix(string(line), want) {
		t.Errorf("the command line is %q (%v), want %q at its end", line, err, want)
	}
	environment, err := os.ReadFile(filepath.Join(proc, "environ"))
	for _, want := range []string{"KEPT=" + r.persistentDir() + "\x00", "HERE=" + r.volatileDir() + "\x00"} {
		if err != nil || !strings.Contains(string(environment), want) {
			t.Errorf("the environment %q has no %q (%v)", environment, want, err)
		}
	}
}
