package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestChildren(t *testing.T) {
	c := start(t, "")
	if got := must[aliveResult](t, c, "children", ""); got.Alive != 0 {
		t.Errorf("%d children answer before there are any", got.Alive)
	}
	first := must[spawnResult](t, c, "spawn", `{"depth": 3}`).PIDs
	if len(first) != 3 {
		t.Fatalf("3 children have the pids %v", first)
	}
	parent := os.Getpid()
	for _, pid := range first {
		if got := parentOf(t, pid); got != parent {
			t.Errorf("process %d is a child of %d, want %d", pid, got, parent)
		}
		parent = pid
	}
	for range 3 {
		if got := must[aliveResult](t, c, "children", ""); got.Alive != 3 {
			t.Errorf("%d children answer, want 3", got.Alive)
		}
	}

	second := must[spawnResult](t, c, "spawn", `{"depth": 8}`).PIDs
	gone(t, first...)
	if got := must[aliveResult](t, c, "children", ""); got.Alive != 8 {
		t.Errorf("%d children answer, want 8", got.Alive)
	}
	if text, err := call(t, c, "spawn", `{"depth": 0}`); err != nil || text != `{"pids":[]}` {
		t.Errorf("got %s, %v", text, err)
	}
	gone(t, second...)
}

func TestChildrenKilled(t *testing.T) {
	for i, want := range []int{0, 1, 2} {
		c := start(t, "")
		pids := must[spawnResult](t, c, "spawn", `{"depth": 3}`).PIDs
		if err := syscall.Kill(pids[i], syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if got := must[aliveResult](t, c, "children", ""); got.Alive != want {
			t.Errorf("child %d of 3 was killed, %d answer, want %d", i+1, got.Alive, want)
		}
		must[spawnResult](t, c, "spawn", `{"depth": 0}`)
		gone(t, pids...)
	}
}

// A stopped child must delay its callers no longer than their contexts allow.
func TestChildrenStopped(t *testing.T) {
	c := start(t, "")
	pids := must[spawnResult](t, c, "spawn", `{"depth": 2}`).PIDs
	if err := syscall.Kill(pids[0], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if got := c.children.countAlive(ctx); got != 0 {
		t.Errorf("%d children answer, want 0", got)
	}
	gone(t, pids...)
}

func TestChildrenEndWithTheirParent(t *testing.T) {
	cmd := exec.Command(os.Args[0], childCommand, "3")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	line := make([]byte, 128)
	n, err := out.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	var pids [3]int
	if _, err := fmt.Sscanf(string(line[:n]), "[%d,%d,%d]", &pids[0], &pids[1], &pids[2]); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	gone(t, pids[:]...)
}

func TestChildCommand(t *testing.T) {
	var out bytes.Buffer
	if status := runChild("1", strings.NewReader("\n\n"), &out); status != 0 {
		t.Errorf("status %d", status)
	}
	if want := fmt.Sprintf("[%d]\n1\n1\n", os.Getpid()); out.String() != want {
		t.Errorf("wrote %q, want %q", out.String(), want)
	}
	if status := runChild("one", strings.NewReader(""), &out); status != 2 {
		t.Errorf("status %d", status)
	}
}

func parentOf(t *testing.T, pid int) (parent int) {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	var state string
	if _, err := fmt.Sscan(rest, &state, &parent); err != nil {
		t.Fatal(err)
	}
	return parent
}

// gone waits until the processes have ended. One that is left to init to reap
// counts as ended; a zombie of this process does not.
func gone(t *testing.T, pids ...int) {
	t.Helper()
	late := time.After(20 * time.Second)
	tick := time.Tick(5 * time.Millisecond)
	for _, pid := range pids {
		for alive(pid) {
			select {
			case <-tick:
			case <-late:
				t.Fatalf("process %d is still there", pid)
			}
		}
	}
}

func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return false
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return !strings.HasPrefix(rest, "Z") || strings.HasPrefix(rest, fmt.Sprintf("Z %d ", os.Getpid()))
}
