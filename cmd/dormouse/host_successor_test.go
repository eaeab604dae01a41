package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A host that is to be replaced by a program that can't start, or with a configuration at
// fault, goes on, says why, and is replaced once that is mended.
func TestSuccessorIsCheckedFirst(t *testing.T) {
	root, dir := t.TempDir(), t.TempDir()
	program := filepath.Join(dir, "dormouse")
	copyFile(t, os.Args[0], program, 0o755)
	cmd := hostCommand(t, root, bothExamples)
	cmd.Path = program
	config := configOf(cmd.Args)
	good, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	h := startCommand(t, root, cmd)
	h.wait(t, "ready")
	h.dormouse(t, "call", "Counter.increment").expect(t, exitDone, `{"value":42}`)
	refused := 0
	replace := func(why string) {
		t.Helper()
		if err := h.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		h.waitTimes(t, "the next host could not start, so this one goes on", refused+1)
		refused++
		if line := h.log.String(); !strings.Contains(line, why) {
			t.Errorf("it did not say %s:\n%s", why, line)
		}
		h.dormouse(t, "call", "Counter.get").expect(t, exitDone, `{"value":42}`)
	}

	rewrite(t, config, string(good)+"\n[host]\nroots = \"x\"\n")
	replace(`unknown key \"roots\"`)
	rewrite(t, config, string(good))
	exchange := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.Remove(program); err != nil {
			t.Fatal(err)
		}
		if text == "" {
			copyFile(t, os.Args[0], program, mode)
		} else if err := os.WriteFile(program, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	exchange("not a program", 0o755)
	replace("exec format error")
	exchange("#!/bin/sh\necho a library is missing >&2\nexit 127\n", 0o755)
	replace("a library is missing")
	exchange("", 0o755)
	if err := h.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
		t.Fatal(err)
	}
	h.waitTimes(t, "ready", 2)
	h.dormouse(t, "call", "Counter.get").expect(t, exitDone, `{"value":41}`)
	h.end(t)
}

// What keeps a host from starting is told without starting one.
func TestCheckStart(t *testing.T) {
	root := t.TempDir()
	check := func(configuration string) (said string, failed bool) {
		cmd := hostCommand(t, root, configuration, "--check")
		out, err := cmd.CombinedOutput()
		return string(out), err != nil
	}
	if said, failed := check(bothExamples); failed || said != "" {
		t.Errorf("nothing is wrong, and it said %s", said)
	}
	for configuration, want := range map[string]string{
		"[host]\nlisten = 1\n":                                         `key "listen"`,
		"[host]\ncommunicator-group = \"no-such-group\"\n":             "no-such-group",
		"[hibernate]\nencrypt = true\n":                                "there is no key",
		"[hibernate]\nkey-file = \"/nowhere/key\"\n":                   "/nowhere/key",
		"[host]\ntls-certificate = \"/x\"\ntls-key = \"/nowhere/y\"\n": "/x",
	} {
		if said, failed := check(configuration); !failed || !strings.Contains(said, want) {
			t.Errorf("with %q it said %s", configuration, said)
		}
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) > 0 {
		t.Errorf("it left %v, %v", entries, err)
	}
}

// waitTimes waits until the host has logged the message so many times.
func (h *testHost) waitTimes(t *testing.T, message string, times int) {
	t.Helper()
	for late := time.After(testPatience); ; {
		h.log.mu.Lock()
		changed := h.log.changed
		h.log.mu.Unlock()
		if strings.Count(h.log.String(), `"message":"`+message+`"`) >= times {
			return
		}
		select {
		case <-changed:
		case <-late:
			t.Fatalf("%q was not logged %d times; the log is:\n%s", message, times, h.log)
		}
	}
}
