package sdktest_test

import (
	"bufio"
	"os"
	"os/exec"
	"syscall"
	"testing"

	"dormouse/hibernate/hibernatetest"
	"dormouse/plugins/sdk/sdktest"
)

// interruptedName is set in a process whose test waits to be interrupted.
const interruptedName = "SDKTEST_INTERRUPTED"

// A run of tests that a signal ends leaves no plugin, directory or cgroup.
func TestInterruptedRunLeavesNothing(t *testing.T) {
	if os.Getenv(interruptedName) != "" {
		sdktest.Start(t, sdktest.Options{Configuration: map[string]any{"word": "hello"}})
		if _, err := os.Stdout.WriteString("started\n"); err != nil {
			t.Fatal(err)
		}
		select {}
	}
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(s.String(), func(t *testing.T) {
			group := hibernatetest.NewCgroup(t)
			dir, err := os.MkdirTemp("", "st") //nolint:usetesting // the path of a test's own directory is too long for sockets
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := os.Remove(dir); err != nil {
					t.Errorf("something is left: %v", err)
				}
			}()
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestInterruptedRunLeavesNothing$", "-test.timeout=1m")
			cmd.Env = append(os.Environ(), interruptedName+"=1", "TMPDIR="+dir)
			cmd.Stderr = os.Stderr
			if group != "" {
				opened, err := os.Open(string(group))
				if err != nil {
					t.Fatal(err)
				}
				defer opened.Close()
				cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(opened.Fd())}
			}
			stdout, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || line != "started\n" {
				t.Errorf("got %q, %v", line, err)
			}
			if err := cmd.Process.Signal(s); err != nil {
				t.Error(err)
			}
			_ = cmd.Wait()
			if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != s {
				t.Errorf("it ended with %v", cmd.ProcessState)
			}
		})
	}
}
