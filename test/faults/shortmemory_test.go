package faults

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/hibernate/hibernatetest"
)

// limitedGroup is a cgroup of version 1 whose processes have little memory together.
type limitedGroup struct {
	t   *testing.T
	dir string
}

// newLimitedGroup makes one, or skips the test where version 1 has no memory controller.
func newLimitedGroup(t *testing.T, limit int64) *limitedGroup {
	t.Helper()
	const root = "/sys/fs/cgroup/memory"
	if _, err := os.Stat(root + "/memory.limit_in_bytes"); err != nil {
		hibernatetest.SkipOrFail(t, fmt.Errorf("memory can't be limited here: %w", err))
	}
	g := &limitedGroup{t, filepath.Join(root, fmt.Sprintf("dormouse-faults-%d", os.Getpid()))}
	must(t, os.Mkdir(g.dir, 0o755))
	t.Cleanup(func() {
		until(t, "the limited cgroup to be empty", func() bool { return unix.Rmdir(g.dir) == nil })
	})
	must(t, os.WriteFile(g.path("memory.limit_in_bytes"), []byte(strconv.FormatInt(limit, 10)), 0))
	return g
}

func (g *limitedGroup) path(file string) string { return filepath.Join(g.dir, file) }

// wrapped returns the path of a script that starts the program in the group.
func (g *limitedGroup) wrapped(program string) string {
	path := filepath.Join(g.t.TempDir(), "limited")
	text := fmt.Sprintf("#!/bin/sh\necho $$ >%s && exec %s \"$@\"\n", g.path("cgroup.procs"), program)
	must(g.t, os.WriteFile(path, []byte(text), 0o755)) //nolint:gosec // it is executed
	return path
}

// kills returns how many processes of the group the kernel has killed for want of memory.
func (g *limitedGroup) kills() string {
	text, err := os.ReadFile(g.path("memory.oom_control"))
	must(g.t, err)
	for line := range strings.Lines(string(text)) {
		if n, found := strings.CutPrefix(line, "oom_kill "); found {
			return strings.TrimSpace(n)
		}
	}
	g.t.Fatalf("the kernel does not count kills: %s", text)
	return ""
}

// trialDuration returns how long the host's trial of CRIU took. The busier the machine is, the
// longer it takes, as a sleep does.
func trialDuration(h *host) time.Duration {
	h.t.Helper()
	h.tried()
	for line := range strings.Lines(h.log.String()) {
		var said struct {
			Engine       string
			Milliseconds int
		}
		if json.Unmarshal([]byte(line), &said) == nil && said.Engine != "" {
			return time.Duration(said.Milliseconds) * time.Millisecond
		}
	}
	h.t.Fatalf("the host does not say how long its trial of CRIU took; its log is:\n%s", h.log.String())
	return 0
}

// TestMemoryGetsShort lets a program take the memory that idle plugins have: they go to
// sleep before the kernel kills anything, and wake with their memory as it was.
func TestMemoryGetsShort(t *testing.T) {
	needCRIU(t)
	const plugins, each, limit = 5, 48, 416 << 20
	g := newLimitedGroup(t, limit)
	var tables []string
	for i := range plugins {
		tables = append(tables, plugin(fmt.Sprintf("P%d", i), programs+"/counter", `on-call = "wake"`, `min-awake = "100ms"`))
	}
	s := newSite(t, "[hibernate]\npressure = \"on\"\npressure-some = \"1ms\"\npressure-window = \"500ms\"", tables...)
	s.program = g.wrapped(s.program)
	h := s.start("")
	h.ready()
	pause := max(20*time.Millisecond, trialDuration(h)/8) // so that a few sleeps are done before all is taken
	digests := make(map[string]string)
	for i := range plugins {
		callsign := fmt.Sprintf("P%d", i)
		var filled struct{ SHA256 string }
		must(t, h.ask(callsign+".fill", map[string]any{"mib": each}, &filled))
		digests[callsign] = filled.SHA256
	}
	hog := exec.Command(g.wrapped(programs+"/hog"), "200", "4", pause.String())
	stdin, err := hog.StdinPipe()
	must(t, err)
	stdout, err := hog.StdoutPipe()
	must(t, err)
	must(t, hog.Start())
	began := time.Now()
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	t.Logf("the hog said %q after %s", line, time.Since(began))
	if g.kills() != "0" || !strings.HasPrefix(line, "full") {
		t.Errorf("the kernel killed %s, the hog said %q; the log is:\n%s", g.kills(), line, h.log.String())
	}
	must(t, stdin.Close())
	_ = hog.Wait()
	for callsign, want := range digests {
		var got struct{ SHA256 string }
		must(t, h.ask(callsign+".digest", nil, &got))
		if got.SHA256 != want {
			t.Errorf("%s woke with other memory", callsign)
		}
	}
	h.end()
}
