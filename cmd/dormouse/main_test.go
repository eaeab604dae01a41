package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dormouse/hibernate/hibernatetest"
)

const (
	// beDormouse makes the test binary the program itself.
	beDormouse = "DORMOUSE_TEST_MAIN"
	// patience is how long a test waits for what must happen.
	testPatience = 30 * time.Second
)

// examples is the directory of the example plugins.
var examples string

func TestMain(m *testing.M) {
	if address := os.Getenv(holdConnections); address != "" {
		holdConnectionsUntilEOF(address)
		return
	}
	if os.Getenv(beDormouse) != "" {
		if path := os.Getenv(journaldSocketName); path != "" {
			journaldSocket = path
		}
		main()
	}
	os.Exit(testMain(m))
}

func testMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "dormouse-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	examples = dir
	build := exec.Command("go", "build", "-o", dir+"/", "dormouse/plugins/examples/counter", "dormouse/plugins/examples/echo", "dormouse/plugins/examples/lines", "dormouse/plugins/examples/survey",
		"dormouse/shell/process/testdata/rogue", "dormouse/test/streams/plugin", "dormouse/cmd/dormouse/testdata/picky", "dormouse/test/faults/brood")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "cannot build the example plugins: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// result is what a command line led to.
type result struct {
	out, err string
	code     int
}

// dormouse runs the program with variables added to its environment.
func dormouse(t *testing.T, variables []string, args ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	cmd := command(ctx, variables, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended || ctx.Err() != nil {
		t.Fatalf("dormouse %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

func command(ctx context.Context, variables []string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0], args...)
	cmd.Env = append(os.Environ(), beDormouse+"=1", "DORMOUSE_HOST=", "DORMOUSE_ROOT=", "DORMOUSE_LISTEN=", "GORACE=atexit_sleep_ms=0")
	cmd.Env = append(cmd.Env, variables...)
	return cmd
}

// expect fails unless the command ended with code and its output has the parts,
// those that begin with "!" on standard error.
func (r result) expect(t *testing.T, code int, parts ...string) result {
	t.Helper()
	ok := r.code == code
	for _, part := range parts {
		if text, onError := strings.CutPrefix(part, "!"); onError {
			ok = ok && strings.Contains(r.err, text)
		} else {
			ok = ok && strings.Contains(r.out, part)
		}
	}
	if !ok {
		t.Errorf("got exit code %d, stdout:\n%s\nstderr:\n%s\nwant exit code %d and %q", r.code, r.out, r.err, code, parts)
	}
	return r
}

// testHost is a `dormouse serve` of a test.
type testHost struct {
	root    string
	address string
	cmd     *exec.Cmd
	log     *logLines
	exited  chan struct{}
}

// startHost starts a host and returns when it listens. EXAMPLES in the
// configuration stands for their directory.
func startHost(t *testing.T, root, configuration string) *testHost {
	t.Helper()
	return startCommand(t, root, hostCommand(t, root, configuration))
}

func hostCommand(t *testing.T, root, configuration string, flags ...string) *exec.Cmd {
	t.Helper()
	config := filepath.Join(t.TempDir(), "dormouse.toml")
	text := strings.ReplaceAll(configuration, "EXAMPLES", examples)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"serve", "--config", config, "--root", root, "--listen", "127.0.0.1:0", "--log-format", "json"}, flags...)
	return command(context.WithoutCancel(t.Context()), nil, args...)
}

func startCommand(t *testing.T, root string, cmd *exec.Cmd) *testHost {
	t.Helper()
	h := &testHost{root: root, cmd: cmd, log: newLogLines(), exited: make(chan struct{})}
	stderr, err := cmd.StderrPipe()
	if err == nil {
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.Setpgid = true
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(h.exited)
		h.log.read(bufio.NewScanner(stderr))
		_ = cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-h.exited:
		case <-time.After(testPatience):
			_ = cmd.Process.Kill()
			t.Error("the host did not end")
		}
	})
	h.address = fmt.Sprint(h.wait(t, "listening")["address"])
	return h
}

// wait returns the first line of the host's log with that message, before which
// a callsign may stand.
func (h *testHost) wait(t *testing.T, message string) map[string]any {
	t.Helper()
	late := time.After(testPatience)
	for {
		line, changed := h.log.find(message)
		if line != nil {
			return line
		}
		select {
		case <-changed:
		case <-h.exited:
			t.Fatalf("the host ended; its log is:\n%s", h.log)
		case <-late:
			t.Fatalf("%q was not logged; the log is:\n%s", message, h.log)
		}
	}
}

// dormouse runs the program as a client of the host.
func (h *testHost) dormouse(t *testing.T, args ...string) result {
	t.Helper()
	return dormouse(t, []string{"DORMOUSE_LISTEN=" + h.address}, args...)
}

// end stops the host and returns its exit code.
func (h *testHost) end(t *testing.T) int {
	t.Helper()
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	return h.exitCode(t)
}

func (h *testHost) exitCode(t *testing.T) int {
	t.Helper()
	select {
	case <-h.exited:
	case <-time.After(testPatience):
		t.Fatalf("the host did not end; its log is:\n%s", h.log)
	}
	code := h.cmd.ProcessState.ExitCode()
	if code == exitRace {
		t.Errorf("the host has a data race; its log is:\n%s", h.log)
	}
	return code
}

// exitRace is the exit status of a host whose race detector has found something.
const exitRace = 66

// show returns the record of an instance.
func (h *testHost) show(t *testing.T, name string) instanceRecord {
	t.Helper()
	var r instanceRecord
	if err := json.Unmarshal([]byte(h.dormouse(t, "plugin", "show", name, "-o", "json").expect(t, 0).out), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// logLines is a host's log as it grows.
type logLines struct {
	mu      sync.Mutex
	lines   []string
	changed chan struct{}
}

func newLogLines() *logLines { return &logLines{changed: make(chan struct{})} }

func (l *logLines) read(from *bufio.Scanner) {
	for from.Scan() {
		l.mu.Lock()
		l.lines = append(l.lines, from.Text())
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
	}
}

func (l *logLines) find(message string) (map[string]any, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, text := range l.lines {
		line := make(map[string]any)
		if json.Unmarshal([]byte(text), &line) != nil {
			continue
		}
		if line["message"] == message || fmt.Sprint(line["callsign"], " ", line["message"]) == message {
			return line, l.changed
		}
	}
	return nil, l.changed
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.lines, "\n")
}

// requireCRIU skips the test where nothing can be hibernated, or fails it if
// that must not be.
func requireCRIU(t *testing.T) {
	t.Helper()
	if why := cannotHibernate(); why != "" {
		hibernatetest.SkipOrFail(t, errors.New(why))
	}
}

var cannotHibernate = sync.OnceValue(func() string {
	out, err := command(context.Background(), nil, "doctor").CombinedOutput()
	if err == nil {
		return ""
	}
	return "hibernation does not work here:\n" + string(out)
})
