package reap

import (
	"errors"
	"os/exec"
	"testing"
	"time"
)

func TestChild(t *testing.T) {
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	if err := Child(pid, time.Millisecond); !errors.Is(err, ErrUnended) {
		t.Errorf("a child that runs: %v", err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"killed", "reaped before"} {
		if err := Child(pid, time.Minute); err != nil {
			t.Errorf("a child that is %s: %v", when, err)
		}
	}
	if err := Child(1, time.Minute); err != nil {
		t.Errorf("another process: %v", err)
	}
}
