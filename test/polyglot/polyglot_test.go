// Package polyglot runs the example plugins that are not Go, and so hold the
// contract of docs/plugins.md without the SDK, under the host's own code.
package polyglot

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dormouse/hibernate"
	"dormouse/hibernate/hibernatetest"
	"dormouse/plugins/sdk"
	"dormouse/plugins/sdk/sdktest"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

func TestMain(m *testing.M) { sdktest.Main(m, nil) }

// example is a plugin with a command that succeeds where what it is written in is
// installed.
type example struct {
	name, path string
	needs      []string
}

var (
	node   = example{"node-echo", "main.js", []string{"node", "-e", "require('@grpc/grpc-js'); require('@grpc/proto-loader')"}}
	python = example{"python-echo", "main.py", []string{"/usr/bin/python3", "-c", "import grpc, google.protobuf"}}
)

// each runs a test with every example that can run here.
func each(t *testing.T, test func(t *testing.T, program string)) {
	t.Helper()
	for _, e := range []example{node, python} {
		t.Run(e.name, func(t *testing.T) { test(t, e.program(t)) })
	}
}

// eachThatSleeps runs a test with every example, except for one whose Node can't sleep: for
// that it makes sure that the host says so.
func eachThatSleeps(t *testing.T, test func(t *testing.T, program string)) {
	t.Helper()
	each(t, func(t *testing.T, program string) {
		t.Helper()
		if strings.Contains(program, node.name) && nodeKeepsRing(t) {
			isRefusedSleep(t, program, "io_uring")
			return
		}
		test(t, program)
	})
}

// nodeKeepsRing reports whether the Node of this machine has an io_uring whatever it is
// told: libuv 1.49 and newer, which Debian 13 has, make one for epoll.
func nodeKeepsRing(t *testing.T) bool {
	t.Helper()
	const source = `const fs = require('fs'), at = '/proc/self/fd/'
		const target = fd => { try { return fs.readlinkSync(at + fd) } catch { return '' } }
		console.log(fs.readdirSync(at).some(fd => target(fd).includes('io_uring')))`
	cmd := exec.CommandContext(t.Context(), "node", "-e", source)
	cmd.Env = append(os.Environ(), "UV_USE_IO_URING=0")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out)) == "true"
}

// isRefusedSleep makes sure that the host names the obstacle, and that the plugin goes on.
func isRefusedSleep(t *testing.T, program, obstacle string) {
	t.Helper()
	h := sdktest.Start(t, sdktest.Options{Executable: program})
	if err := h.HibernateRefused(); !errors.Is(err, hibernate.ErrObstacle) || !strings.Contains(err.Error(), obstacle) {
		t.Errorf("got %v", err)
	}
	var got counted
	if err := h.Call("increment", nil, &got); err != nil || got.Value != 1 {
		t.Errorf("after that, got %+v, %v", got, err)
	}
}

// program skips the test where the example can't run.
func (e example) program(t *testing.T) string {
	t.Helper()
	program, err := filepath.Abs(filepath.Join("../../plugins/examples", e.name, e.path))
	if err != nil {
		t.Fatal(err)
	}
	probe := exec.CommandContext(t.Context(), e.needs[0], e.needs[1:]...)
	probe.Dir = filepath.Dir(program)
	if out, err := probe.CombinedOutput(); err != nil {
		hibernatetest.SkipOrFail(t, fmt.Errorf("%s lacks what it is written in, which `make setup` installs: %w\n%s", e.name, err, out))
	}
	return program
}

type counted struct {
	Value int `json:"value"`
	Awake int `json:"awake"`
}

func TestCalls(t *testing.T) {
	each(t, func(t *testing.T, program string) {
		t.Helper()
		h := sdktest.Start(t, sdktest.Options{Executable: program, Configuration: map[string]any{"start": 41}})
		for _, params := range []string{`{"a":[1,2.5,"é"]}`, `[]`, `"text"`, `null`} {
			var answer any
			if err := h.Call("echo", json.RawMessage(params), &answer); err != nil {
				t.Fatal(err)
			}
			if got, _ := json.Marshal(answer); string(got) != params {
				t.Errorf("asked %s, got %s", params, got)
			}
		}
		var got, event counted
		if err := h.Call("increment", nil, &got); err != nil || got.Value != 42 {
			t.Errorf("got %+v, %v", got, err)
		}
		if h.TakeEvent("counted", &event); event.Value != 42 {
			t.Errorf("the event says %d", event.Value)
		}
		for method, want := range map[string]int{"sing": sdk.UnknownMethod, "increment": sdk.InvalidParameter} {
			err := h.Call(method, map[string]any{"by": "x"}, nil)
			if answer, ok := errors.AsType[*shell.PluginError](err); !ok || answer.Code != want {
				t.Errorf("%s: got %v, want code %d", method, err, want)
			}
		}
		h.Resume()
		h.Suspend()
		h.Deactivate()
	})
}

func TestRefusesConfiguration(t *testing.T) {
	each(t, func(t *testing.T, program string) {
		t.Helper()
		err := sdktest.StartRefused(t, sdktest.Options{Executable: program, Configuration: map[string]any{"start": "x"}})
		if !errors.Is(err, shell.ErrInitialization) || !strings.Contains(err.Error(), "start must be a whole number") {
			t.Errorf("got %v", err)
		}
	})
}

func TestSleeps(t *testing.T) {
	eachThatSleeps(t, func(t *testing.T, program string) {
		t.Helper()
		h := sdktest.Start(t, sdktest.Options{Executable: program})
		const sleeps = 3
		for sleep := 1; sleep <= sleeps; sleep++ {
			var got counted
			if err := h.Call("increment", nil, &got); err != nil || got.Value != sleep {
				t.Fatalf("got %+v, %v", got, err)
			}
			h.Hibernate()
			if h.State() != shell.Hibernated {
				t.Fatalf("the state is %s", h.State())
			}
			h.Wake()
			if err := h.Call("get", nil, &got); err != nil || got != (counted{sleep, sleep}) {
				t.Errorf("got %+v, %v", got, err)
			}
			var woke struct{ Generation int }
			if h.TakeEvent("woke", &woke); woke.Generation != sleep {
				t.Errorf("woke with generation %d, want %d", woke.Generation, sleep)
			}
			if h.TakeEvent("counted", &got); got.Value != sleep { // none lost, none twice
				t.Errorf("the event says %d, want %d", got.Value, sleep)
			}
			h.Resume()
		}
	})
}

// Every life begins with what Initialize left, and sleeps as any other.
func TestStartsWarm(t *testing.T) {
	eachThatSleeps(t, func(t *testing.T, program string) {
		t.Helper()
		h := sdktest.Start(t, sdktest.Options{Executable: program, Configuration: map[string]any{"start": 41}, WarmStart: true})
		for range 2 {
			h.StartWarm()
			var got counted
			if err := h.Call("increment", nil, &got); err != nil || got.Value != 42 {
				t.Fatalf("got %+v, %v", got, err)
			}
			if h.TakeEvent("counted", &got); got.Value != 42 {
				t.Errorf("the event says %d", got.Value)
			}
			h.Hibernate()
			h.Wake()
			if err := h.Call("get", nil, &got); err != nil || got.Value != 42 {
				t.Errorf("got %+v, %v", got, err)
			}
		}
	})
}

// TestObstacle gives each example something that CRIU has no image of, and wants to be
// told what. It is a file that any version of either language can hold open; a ring of
// io_uring, for one, only some versions of Node can.
func TestObstacle(t *testing.T) {
	dir := t.TempDir()
	preload := filepath.Join(dir, "preload.js")
	for path, source := range map[string]string{
		preload:                                "require('fs').openSync('/proc/self/status')\n",
		filepath.Join(dir, "sitecustomize.py"): "held = open('/proc/self/status')\n",
	} {
		if err := os.WriteFile(path, []byte(source), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	environment := map[string]string{"NODE_OPTIONS": "--require=" + preload, "PYTHONPATH": dir}
	each(t, func(t *testing.T, program string) {
		t.Helper()
		h := sdktest.Start(t, sdktest.Options{Executable: program, Environment: environment})
		err := h.HibernateRefused()
		if !errors.Is(err, hibernate.ErrObstacle) || !strings.Contains(err.Error(), "/status") {
			t.Errorf("got %v", err)
		}
		var got counted
		if err := h.Call("increment", nil, &got); err != nil || got.Value != 1 {
			t.Errorf("after that, got %+v, %v", got, err)
		}
	})
}

// TestVerify takes each example through `dormouse plugin verify`.
func TestVerify(t *testing.T) {
	dormouse := filepath.Join(t.TempDir(), "dormouse")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", dormouse, "dormouse/cmd/dormouse")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("cannot build dormouse: %v\n%s", err, out)
	}
	eachThatSleeps(t, func(t *testing.T, program string) {
		t.Helper()
		verify := exec.CommandContext(t.Context(), dormouse, "plugin", "verify", "--method", "echo", "--params", "[1]", program)
		out, err := verify.CombinedOutput()
		if err != nil || strings.Contains(string(out), "failed") {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// TestEndsBySignal makes sure that SIGTERM ends the program in order.
func TestEndsBySignal(t *testing.T) {
	each(t, func(t *testing.T, program string) {
		t.Helper()
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), program)
		cmd.Env = append(os.Environ(), shellpb.CookieKey+"="+shellpb.CookieValue, "PLUGIN_PROTOCOL_VERSIONS=1", "PLUGIN_UNIX_SOCKET_DIR="+dir)
		stdout, err := cmd.StdoutPipe()
		if err == nil {
			err = cmd.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(stdout).ReadString('\n')
		if want := "1|1|unix|" + dir + "/"; !strings.HasPrefix(line, want) || !strings.HasSuffix(line, "|grpc\n") {
			t.Errorf("it wrote %q, %v", line, err)
		}
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
}

func TestByHand(t *testing.T) {
	each(t, func(t *testing.T, program string) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), program).CombinedOutput()
		if _, ended := errors.AsType[*exec.ExitError](err); !ended || !strings.Contains(string(out), "not by hand") {
			t.Errorf("got %v and %q", err, out)
		}
	})
}
