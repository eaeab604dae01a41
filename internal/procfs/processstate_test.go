package procfs

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func TestStates(t *testing.T) {
	// The name is one that a careless reader of stat would trip over.
	program := filepath.Join(t.TempDir(), "a) Z (b")
	if err := os.Symlink("/bin/sh", program); err != nil {
		t.Fatal(err)
	}
	cmd := start(t, `exec 3<&0; "`+program+`" -c 'echo ready; read x; :' <&3 & wait`, nil)
	pid := Children(cmd.Process.Pid)[0]
	if IsStopped(pid) {
		t.Error("it is stopped at once")
	}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is stopped", func() bool { return IsStopped(pid) })
	ContinueStopped([]int{pid})
	eventually(t, "it runs on", func() bool { return !IsStopped(pid) })
	if err := syscall.Kill(cmd.Process.Pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "its parent is a zombie", func() bool { return HasEnded(cmd.Process.Pid) })
	_ = syscall.Kill(pid, syscall.SIGKILL)
}
