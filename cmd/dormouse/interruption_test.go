package main

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"dormouse/hibernate/hibernatetest"
)

// interruptedVerb is a verb that runs in a cgroup and a temporary directory of its own, in
// which it must leave nothing.
type interruptedVerb struct {
	t      *testing.T
	signal func(syscall.Signal)
	stdout *bufio.Reader
	close  func() // ends the reading of stdout
	dir    string
}

// runInterrupted starts the verb, calls interrupt once lines lines were read, and returns
// what the verb wrote to standard error and its exit code.
func runInterrupted(t *testing.T, lines int, interrupt func(*interruptedVerb), args ...string) (stderr string, code int) {
	t.Helper()
	group := hibernatetest.NewCgroup(t)
	dir, err := os.MkdirTemp("", "dm") //nolint:usetesting // the path of a test's own directory is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.Remove(dir); err != nil {
			t.Errorf("something is left: %v", err)
		}
	}()
	for i, arg := range args {
		args[i] = strings.ReplaceAll(arg, "EXAMPLES", examples)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testPatience)
	defer cancel()
	cmd := command(ctx, []string{"TMPDIR=" + dir}, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	if group != "" {
		opened, err := os.Open(string(group))
		if err != nil {
			t.Fatal(err)
		}
		defer opened.Close()
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(opened.Fd())
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var complaints bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = w.Close()
	v := &interruptedVerb{t: t, stdout: bufio.NewReader(r), dir: dir, close: func() { _ = r.Close() }}
	v.signal = func(s syscall.Signal) {
		if err := cmd.Process.Signal(s); err != nil {
			t.Error(err)
		}
	}
	for range lines {
		if _, err := v.stdout.ReadString('\n'); err != nil {
			t.Fatalf("%v; on standard error is %s", err, complaints.String())
		}
	}
	interrupt(v)
	_, _ = io.Copy(io.Discard, v.stdout)
	_ = cmd.Wait()
	if ctx.Err() != nil {
		t.Error("it did not end")
	}
	return complaints.String(), cmd.ProcessState.ExitCode()
}

// awaitDirectory returns when the verb has made its directory.
func (v *interruptedVerb) awaitDirectory() {
	v.t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for late := time.After(testPatience); ; {
		select {
		case <-tick.C:
			if entries, _ := os.ReadDir(v.dir); len(entries) > 0 {
				return
			}
		case <-late:
			v.t.Fatal("it made no directory")
		}
	}
}

// signalUntilEnd sends the signal again and again until the verb has ended.
func (v *interruptedVerb) signalUntilEnd(s syscall.Signal) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(io.Discard, v.stdout)
	}()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		v.signal(s)
		select {
		case <-tick.C:
		case <-ended:
			return
		}
	}
}

// A verb that starts processes leaves neither them nor files nor cgroups, however it is
// ended: its terminal is closed, it is told to end, or its output is no longer read.
func TestInterruptedVerbsLeaveNothing(t *testing.T) {
	send := func(signals ...syscall.Signal) func(*interruptedVerb) {
		return func(v *interruptedVerb) {
			for _, s := range signals {
				v.signal(s)
			}
		}
	}
	closePipe := func(v *interruptedVerb) { v.close() }
	verify := []string{"plugin", "verify", "EXAMPLES/counter"}
	stuck := []string{"plugin", "verify", "--timeout", "25s", "EXAMPLES/rogue", "mute"}
	for _, test := range []struct {
		name      string
		args      []string
		lines     int
		interrupt func(*interruptedVerb)
		quiet     bool // says nothing of it
	}{
		{"verify | head -1", verify, 1, closePipe, true},
		{"verify | head -5", verify, 5, closePipe, true},
		{"verify | true", verify, 0, closePipe, true},
		{"terminal closed at the start", verify, 1, send(syscall.SIGHUP), false},
		{"terminal closed before the sleep", verify, 7, send(syscall.SIGHUP), false},
		{"terminal closed after the sleep", verify, 9, send(syscall.SIGHUP), false},
		{"SIGTERM", verify, 2, send(syscall.SIGTERM), false},
		{"SIGTERM before the sleep", verify, 8, send(syscall.SIGTERM), false},
		{"Ctrl-C", verify, 5, send(syscall.SIGINT), false},
		{"Ctrl-C after the wake", verify, 11, send(syscall.SIGINT), false},
		{"Ctrl-C as JSON", append([]string{"plugin", "verify", "-o", "json"}, verify[2:]...), 0, func(v *interruptedVerb) { v.awaitDirectory(); v.signal(syscall.SIGINT) }, false},
		{"more signals", stuck, 1, func(v *interruptedVerb) { v.signalUntilEnd(syscall.SIGTERM) }, false},
		{"doctor | true", []string{"doctor"}, 0, closePipe, true},
		{"doctor, terminal closed", []string{"doctor"}, 0, func(v *interruptedVerb) { v.awaitDirectory(); v.signal(syscall.SIGHUP) }, false},
		{"doctor, Ctrl-C", []string{"doctor"}, 0, func(v *interruptedVerb) { v.awaitDirectory(); v.signal(syscall.SIGINT) }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.lines > 7 {
				requireCRIU(t)
			}
			begun := time.Now()
			stderr, code := runInterrupted(t, test.lines, test.interrupt, test.args...)
			if code != exitFailed || test.quiet != (stderr == "") || !test.quiet && !strings.Contains(stderr, "interrupted") {
				t.Errorf("it ended with %d and said %q", code, stderr)
			}
			if took := time.Since(begun); took > 20*time.Second {
				t.Errorf("it took %s", took)
			}
		})
	}
}
