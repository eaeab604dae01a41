package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

const (
	callsign = "Counter"
	fillMiB  = 200
)

// tour is what has been seen so far.
type tour struct {
	host     *host
	sleeps   bool // hibernation works here
	rows     []row
	failures int

	value  int64  // of the counter, when last asked
	digest string // of its memory
	awake  status // before it was put to sleep
}

// status is the part of an instance's record that the tour looks at.
type status struct {
	State  string `json:"state"`
	PID    int    `json:"pid"`
	Memory int64  `json:"memory"`
}

func (t *tour) run(ctx context.Context) error {
	for _, part := range []struct {
		title string
		show  func(context.Context) error
	}{
		{"Can this machine hibernate plugins?", t.showMachine},
		{"A plugin is started and called", t.showStart},
		{fmt.Sprintf("It fills %d MiB with random bytes", fillMiB), t.showFill},
		{"It is suspended and put to sleep on disk", t.showSleep},
		{"It is woken, and is what it was", t.showWake},
		{"It is ended", t.showEnd},
	} {
		fmt.Printf("\n── %s\n", part.title)
		if err := part.show(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (t *tour) showMachine(ctx context.Context) error {
	_, _, err := t.dormouse(ctx, "doctor")
	t.sleeps = err == nil
	if err != nil && ctx.Err() == nil {
		fmt.Println("  The reason is above; the tour goes on without hibernation.")
		t.check(os.Getenv("DORMOUSE_REQUIRE_CRIU") != "1", "hibernation is not required here")
	}
	return ctx.Err()
}

func (t *tour) showStart(ctx context.Context) error {
	_, took, err := t.dormouse(ctx, "plugin", "activate", callsign)
	if err != nil {
		return err
	}
	t.record("activate", took, "")
	answer, took, err := call[counted](ctx, t, "increment", `{"by":1}`)
	if err != nil {
		return err
	}
	t.value = answer.Value
	t.check(t.value == 42, "the counter went from 41 to %d", t.value)
	t.record("call", took, "")
	return nil
}

func (t *tour) showFill(ctx context.Context) error {
	filled, took, err := call[hashed](ctx, t, "fill", fmt.Sprintf(`{"mib":%d,"pattern":"random"}`, fillMiB))
	if err != nil {
		return err
	}
	t.record("fill memory", took, mib(fillMiB<<20))
	t.digest = filled.SHA256
	now, _, err := call[hashed](ctx, t, "digest", "")
	if err != nil {
		return err
	}
	t.check(now.SHA256 == t.digest, "the digest of the memory is %.16s…", t.digest)
	return nil
}

func (t *tour) showSleep(ctx context.Context) error {
	_, took, err := t.dormouse(ctx, "plugin", "suspend", callsign)
	if err != nil {
		return err
	}
	t.record("suspend", took, "")
	if !t.sleeps {
		return nil
	}
	if t.awake, err = t.status(ctx); err != nil {
		return err
	}
	t.check(t.awake.Memory >= fillMiB<<20, "process %d and its tree hold %s of memory", t.awake.PID, mib(t.awake.Memory))
	freeBefore := available()
	_, took, err = t.dormouse(ctx, "plugin", "hibernate", callsign)
	if err != nil {
		return err
	}
	freeAfter := available()
	asleep, err := t.status(ctx)
	if err != nil {
		return err
	}
	files, bytes, err := t.host.image()
	if err != nil {
		return err
	}
	t.record("hibernate", took, mib(bytes)+" on disk")
	t.check(asleep.State == "hibernated", "the plugin is %s", asleep.State)
	t.check(errors.Is(syscall.Kill(t.awake.PID, 0), syscall.ESRCH), "process %d is gone", t.awake.PID)
	t.check(asleep.Memory == 0, "its memory went from %s to %s; the machine's available memory changed by %+d MiB",
		mib(t.awake.Memory), mib(asleep.Memory), (freeAfter-freeBefore)>>20)
	t.check(bytes >= fillMiB<<20, "%d files with %s lie on disk", files, mib(bytes))
	t.record("memory given back", 0, mib(t.awake.Memory-asleep.Memory))
	_, _, err = t.dormouse(ctx, "plugin", "list")
	return err
}

func (t *tour) showWake(ctx context.Context) error {
	if t.sleeps {
		_, took, err := t.dormouse(ctx, "plugin", "activate", callsign)
		if err != nil {
			return err
		}
		awake, err := t.status(ctx)
		if err != nil {
			return err
		}
		t.record("wake", took, mib(awake.Memory)+" of memory")
		t.check(awake.State == "suspended", "it is %s, as it was", awake.State)
		t.check(awake.PID != t.awake.PID && syscall.Kill(awake.PID, 0) == nil, "process %d is its new number", awake.PID)
	}
	answer, took, err := call[counted](ctx, t, "get", "")
	if err != nil {
		return err
	}
	t.record("first call", took, "")
	t.check(answer.Value == t.value, "the counter is %d, it was %d", answer.Value, t.value)
	now, _, err := call[hashed](ctx, t, "digest", "")
	if err != nil {
		return err
	}
	t.check(now.SHA256 == t.digest, "the digest of the memory is %.16s…, it was %.16s…", now.SHA256, t.digest)
	return nil
}

func (t *tour) showEnd(ctx context.Context) error {
	_, took, err := t.dormouse(ctx, "plugin", "deactivate", callsign)
	if err != nil {
		return err
	}
	t.record("deactivate", took, "")
	last, err := t.status(ctx)
	t.check(last.State == "deactivated" && last.PID == 0, "the plugin is %s", last.State)
	return err
}

type counted struct {
	Value int64 `json:"value"`
}

type hashed struct {
	SHA256 string `json:"sha256"`
}

// call calls a method of the plugin.
func call[T any](ctx context.Context, t *tour, method, params string) (answer T, took time.Duration, err error) {
	args := []string{"call", callsign + "." + method}
	if params != "" {
		args = append(args, params)
	}
	output, took, err := t.dormouse(ctx, args...)
	if err == nil {
		err = json.Unmarshal(output, &answer)
	}
	return answer, took, err
}

// dormouse runs a command as a user would, and shows it and its output.
func (t *tour) dormouse(ctx context.Context, args ...string) ([]byte, time.Duration, error) {
	words := strings.Join(args, " ")
	if i := strings.IndexByte(words, '{'); i >= 0 {
		words = words[:i] + "'" + words[i:] + "'"
	}
	fmt.Printf("$ dormouse %s\n", words)
	var output bytes.Buffer
	took, err := t.client(ctx, io.MultiWriter(&output, os.Stdout), args...)
	if err != nil {
		err = fmt.Errorf("cannot go on: `dormouse %s`: %w", words, err)
	}
	return output.Bytes(), took, err
}

func (t *tour) client(ctx context.Context, out io.Writer, args ...string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, t.host.program, args...)
	cmd.Env = append(os.Environ(), "DORMOUSE_LISTEN="+t.host.address)
	cmd.Stdout, cmd.Stderr = out, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) } // it too has things to tidy up
	cmd.WaitDelay = 10 * time.Second
	begun := time.Now()
	err := cmd.Run()
	return time.Since(begun), err
}

// status asks for the instance without showing it.
func (t *tour) status(ctx context.Context) (status, error) {
	var output bytes.Buffer
	var s status
	if _, err := t.client(ctx, &output, "plugin", "show", callsign, "-o", "json"); err != nil {
		return s, err
	}
	return s, json.Unmarshal(output.Bytes(), &s)
}
