package procfs

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

func TestNSPid(t *testing.T) {
	if got := NSPid(os.Getpid()); got != os.Getpid() && got <= 0 {
		t.Errorf("got %d", got)
	}
	if os.Geteuid() != 0 {
		t.Skip("a PID namespace needs root")
	}
	cmd := start(t, "echo ready; read x", &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID})
	if got := NSPid(cmd.Process.Pid); got != 1 {
		t.Errorf("got %d", got)
	}
}

func TestIdentity(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	own, child := StartTicks(os.Getpid()), StartTicks(cmd.Process.Pid)
	if own == 0 || child < own {
		t.Errorf("this process began at %d, its child at %d", own, child)
	}
	if got := Parent(cmd.Process.Pid); got != os.Getpid() {
		t.Errorf("its parent is %d", got)
	}
	if got := ProcessName(cmd.Process.Pid); got != "sleep" {
		t.Errorf("its name is %q", got)
	}
	path, err := exec.LookPath("sleep")
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal("there is no inode to be had")
	}
	if got, want := ExecutableID(cmd.Process.Pid), fmt.Sprintf("%d:%d", st.Dev, st.Ino); got != want {
		t.Errorf("it executes %s, want %s", got, want)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if began, file := StartTicks(cmd.Process.Pid), ExecutableID(cmd.Process.Pid); began != 0 || file != "" {
		t.Errorf("it is gone, but began at %d and executes %q", began, file)
	}
	if len(BootID()) != 36 {
		t.Errorf("the boot is %q", BootID())
	}
}

func TestCommand(t *testing.T) {
	if got := ProcessName(os.Getpid()); got != "procfs.test" {
		t.Errorf("got %q", got)
	}
}

func TestOwner(t *testing.T) {
	if got := OwnerOrRoot(os.Getpid()); got != (Owner{os.Getuid(), os.Getgid()}) {
		t.Errorf("got %+v", got)
	}
}
