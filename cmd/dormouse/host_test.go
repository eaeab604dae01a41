package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dormouse/internal/cgroup"
)

func TestHibernate(t *testing.T) {
	requireCRIU(t)
	h := startHost(t, t.TempDir(), bothExamples)
	h.wait(t, "ready")
	h.wait(t, "hibernation is available")
	h.dormouse(t, "call", "Counter.increment").expect(t, exitDone, `{"value":42}`)
	awake := h.show(t, "Counter").PID

	h.dormouse(t, "plugin", "suspend", "Counter").expect(t, exitDone)
	h.dormouse(t, "plugin", "hibernate", "Counter", "--timeout", "20s").expect(t, exitDone, "Counter hibernated: ", " on disk, ", "of memory given back")
	if err := syscall.Kill(awake, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("process %d lives on: %v", awake, err)
	}
	h.dormouse(t, "plugin", "list").expect(t, exitDone, "Counter     hibernated")
	h.dormouse(t, "call", "Counter.get").expect(t, exitFailed, "!Service is hibernated", "!plugin activate Counter")

	h.dormouse(t, "plugin", "activate", "Counter").expect(t, exitDone, "Counter woken: suspended, pid ", "read from disk")
	h.dormouse(t, "call", "Counter.get").expect(t, exitDone, `{"value":42}`)
}

func TestHibernatedInstancesSurviveTheHost(t *testing.T) {
	requireCRIU(t)
	root := t.TempDir()
	first := startHost(t, root, bothExamples)
	first.wait(t, "ready")
	first.dormouse(t, "call", "Counter.increment", `{"by":9}`).expect(t, exitDone)
	first.dormouse(t, "plugin", "suspend", "Counter").expect(t, exitDone)
	first.dormouse(t, "plugin", "hibernate", "Counter").expect(t, exitDone)
	if code := first.end(t); code != exitDone {
		t.Errorf("the host ended with code %d", code)
	}

	second := startHost(t, root, bothExamples)
	second.wait(t, "ready")
	second.dormouse(t, "plugin", "list").expect(t, exitDone, "Counter     hibernated")
	second.dormouse(t, "plugin", "activate", "Counter").expect(t, exitDone, "Counter woken")
	second.dormouse(t, "call", "Counter.get").expect(t, exitDone, `{"value":50}`)

	// What was damaged on disk is not woken, and that is said.
	second.dormouse(t, "plugin", "hibernate", "Counter").expect(t, exitDone)
	pages := filepath.Join(root, "images", "Counter", "image", "pages-1.img")
	if err := os.Truncate(pages, 100); err != nil {
		t.Fatal(err)
	}
	second.dormouse(t, "plugin", "activate", "Counter").expect(t, exitDone, "it was started afresh", "pages-1.img has 100 bytes")
}

func TestEndLeavesNothing(t *testing.T) {
	root := t.TempDir()
	h := startHost(t, root, bothExamples)
	h.wait(t, "ready")
	h.dormouse(t, "call", "Counter.spawn", `{"depth":3}`).expect(t, exitDone)
	group := cgroupOf(t, h.show(t, "Counter").PID)
	if code := h.end(t); code != exitDone {
		t.Errorf("the host ended with code %d; its log is:\n%s", code, h.log)
	}
	if left := processesOf(t, root); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
	if group != "" {
		if _, err := os.Stat(filepath.Dir(group)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the cgroup is left: %v", err)
		}
	}
	for _, dir := range []string{filepath.Join(root, "run"), shortRunDirPath(root)} {
		if left, err := os.ReadDir(dir); len(left) > 0 {
			t.Errorf("%v is left in %s (%v)", left, dir, err)
		}
	}
	if _, err := os.Stat(filepath.Join(root, addressName)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the address is left: %v", err)
	}
	h.wait(t, "ended")
}

func TestRestartAfterKill(t *testing.T) {
	root := t.TempDir()
	killed := startHost(t, root, bothExamples)
	killed.wait(t, "ready")
	if cannotHibernate() == "" {
		killed.wait(t, "hibernation is available") // or its trial's files would be left
	}
	left := killed.show(t, "Counter").PID
	if err := killed.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	killed.exitCode(t)

	h := startHost(t, root, bothExamples)
	h.wait(t, "ready")
	if now := h.show(t, "Counter").PID; now == left {
		t.Errorf("process %d is still the plugin's", left)
	}
	h.dormouse(t, "call", "Counter.get").expect(t, exitDone, `{"value":41}`)
	h.dormouse(t, "plugin", "list").expect(t, exitDone, "Echo        activated")
	if code := h.end(t); code != exitDone {
		t.Errorf("the host ended with code %d; its log is:\n%s", code, h.log)
	}
	if left := processesOf(t, root); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

func TestEndWhileStarting(t *testing.T) {
	const mute = `
[[plugin]]
callsign = "Silent"
executable = "EXAMPLES/rogue"
arguments = ["no-initialize"]
start-mode = "activated"
start-timeout = "10m"
probe = false
`
	for name, test := range map[string]struct{ configuration, begun string }{
		"all is well":              {bothExamples, "listening"},
		"no handshake comes":       {silent + "probe = false\n", "Silent activation"},
		"Initialize never answers": {mute, "Silent activation"},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			h := startHost(t, root, test.configuration)
			h.wait(t, test.begun)
			if code := h.end(t); code != exitDone {
				t.Errorf("the host ended with code %d; its log is:\n%s", code, h.log)
			}
			if left := processesOf(t, root); len(left) > 0 {
				t.Errorf("processes are left: %v", left)
			}
		})
	}
}

func TestSecondSignalKills(t *testing.T) {
	root := t.TempDir()
	h := startHost(t, root, `
[[plugin]]
callsign = "Slow"
executable = "EXAMPLES/counter"
start-mode = "activated"
stop-timeout = "10m"
`)
	h.wait(t, "ready")
	if err := syscall.Kill(h.show(t, "Slow").PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for _, message := range []string{"ending in order; a second signal kills what still runs", "killing what still runs"} {
		if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		h.wait(t, message)
	}
	if code := h.exitCode(t); code != exitFailed {
		t.Errorf("the host ended with code %d", code)
	}
	if left := processesOf(t, root); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

// silent is a plugin that never shakes hands.
const silent = `
[[plugin]]
callsign = "Silent"
executable = "sleep"
arguments = ["1000"]
start-mode = "activated"
start-timeout = "10m"
`

// A plugin that does not answer a probe delays no client.
func TestEndWhileProbing(t *testing.T) {
	root := t.TempDir()
	h := startHost(t, root, silent)
	for late := time.Now().Add(testPatience); len(processesOf(t, filepath.Join(root, "run"))) == 0 && len(processesOf(t, shortRunDirPath(root))) == 0; {
		if time.Now().After(late) {
			t.Fatal("the plugin is not asked")
		}
	}
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if code := h.exitCode(t); code != 0 {
		t.Errorf("the host ended with code %d", code)
	}
	if left := processesOf(t, root); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

func TestOneHostForARoot(t *testing.T) {
	root := t.TempDir()
	h := startHost(t, root, "")
	r := hostCommand(t, root, "")
	out, err := r.CombinedOutput()
	want := fmt.Sprintf("the host with pid %d does already", h.cmd.Process.Pid)
	if err == nil || !strings.Contains(string(out), want) {
		t.Errorf("got %v\n%s\nwant %q", err, out, want)
	}
	h.dormouse(t, "plugin", "list").expect(t, exitDone, "Controller")
}

func TestBusyPort(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	out, err := hostCommand(t, t.TempDir(), bothExamples, "--listen", busy.Addr().String()).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "another program does") || strings.Contains(string(out), "activation") {
		t.Errorf("got %v\n%s", err, out)
	}
}

func TestLongRoot(t *testing.T) {
	root := filepath.Join(t.TempDir(), strings.Repeat("long", 25))
	h := startHost(t, root, bothExamples)
	h.wait(t, "ready")
	h.dormouse(t, "call", "Counter.get").expect(t, exitDone, `{"value":41}`)
	if code := h.end(t); code != exitDone {
		t.Errorf("the host ended with code %d", code)
	}
	if _, err := os.Stat(shortRunDirPath(root)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory for sockets is left: %v", err)
	}
}

func TestSystemd(t *testing.T) {
	socket, address := listening(t)
	stray, held, err := os.Pipe() // what a careless parent leaves open
	if err != nil {
		t.Fatal(err)
	}
	defer stray.Close()
	defer held.Close()
	m := newManager(t)
	h := m.start(t.TempDir(), []named{{"", socket}}, stray)
	if h.address != address {
		t.Errorf("it listens on %s, it was handed %s", h.address, address)
	}
	m.expect("READY=1")
	pipe, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", stray.Fd()))
	if err != nil {
		t.Fatal(err)
	}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", h.show(t, "Counter").PID))
	for _, file := range files {
		if target, _ := os.Readlink(file); target == pipe {
			t.Errorf("the plugin has inherited %s", target)
		}
	}
	if code := h.end(t); code != exitDone {
		t.Errorf("the host ended with code %d", code)
	}
	m.expect("STOPPING=1")
}

// processesOf returns the processes that have root in their command line, or
// that run a plugin of the tests.
func processesOf(t *testing.T, root string) []string {
	t.Helper()
	var found []string
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range lines {
		line, _ := os.ReadFile(path)
		environment, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "environ"))
		if strings.Contains(string(line), root) || strings.Contains(string(environment), root) {
			found = append(found, path+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

// cgroupOf returns the directory of the cgroup that a process is in, "" where
// plugins have none of their own.
func cgroupOf(t *testing.T, pid int) string {
	t.Helper()
	mount, err := cgroup.MountPoint()
	path := cgroup.PathBelowMount(pid)
	if err != nil || !strings.Contains(path, "dormouse-") {
		return ""
	}
	return mount + path
}
