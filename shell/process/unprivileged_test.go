package process

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"dormouse/internal/procfs"
	"dormouse/shell"
)

// nobody is the user and group that has no privileges.
const nobody = 65534

// TestWithoutPrivileges runs itself again as nobody: there are no PID
// namespaces then, and hardly ever cgroups.
func TestWithoutPrivileges(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Run("activate", unprivilegedActivate)
		t.Run("stop", unprivilegedStop)
		t.Run("stopped root", unprivilegedStoppedRoot)
		t.Run("exit", unprivilegedExit)
		t.Run("hibernate", unprivilegedHibernate)
		t.Run("host socket", TestHostSocket)
		return
	}
	home, err := os.MkdirTemp(filepath.Dir(bin), "n") //nolint:usetesting // nobody can't look into t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(home)
	program := filepath.Join(home, "test")
	err = copyProgram(program, "/proc/self/exe")
	if err == nil {
		err = os.Chown(home, nobody, nobody)
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, "-test.run=^TestWithoutPrivileges$", "-test.v")
	cmd.Dir = home
	cmd.Env = append(os.Environ(), binVariable+"="+bin, "TMPDIR="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "--- PASS: TestWithoutPrivileges/activate") {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

func unprivilegedActivate(t *testing.T) {
	r := newRig(t, counter())
	r.activate()
	if got := call[struct{ Value int }](r, "increment", "").Value; got != 42 {
		t.Errorf("it counts %d", got)
	}
	if f := r.ProcessFigures(); f.PID == 0 || f.Root != r.life.tree.root.Pid || f.PID == f.Root || f.Memory == 0 {
		t.Errorf("got %+v", f)
	}
	if err := r.Deinitialize(r.contextFor(patience), shell.Requested); err != nil {
		t.Error(err)
	}
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Error(err)
	}
}

// withOrphans starts a rogue that has a child and an orphan.
func withOrphans(t *testing.T) *rig {
	t.Helper()
	r := newRig(t, rogue("stubborn"))
	r.activate()
	call[any](r, "orphan", "")
	eventually(t, "the orphan is the root's", func() bool { return len(procfs.Children(r.life.tree.root.Pid)) == 2 })
	if len(r.pids()) != 4 {
		t.Errorf("the tree is %v", r.pids())
	}
	return r
}

func unprivilegedStop(t *testing.T) {
	r := withOrphans(t)
	pids := r.pids()
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Error(err)
	}
	r.checkGone(pids)
	r.checkNoExitReported()
}

// The plugin has the same user, so it can stop what is to end it.
func unprivilegedStoppedRoot(t *testing.T) {
	r := withOrphans(t)
	pids := r.pids()
	if err := syscall.Kill(pids[0], syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the root is stopped", func() bool { return procfs.IsStopped(pids[0]) })
	begun := time.Now()
	if err := r.Stop(r.contextFor(patience)); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("it took %v", took)
	}
	r.checkGone(pids)
}

func unprivilegedExit(t *testing.T) {
	r := withOrphans(t)
	pids := r.pids()
	if _, err := r.Invoke(r.contextFor(patience), shell.Call{Method: "exit", Params: []byte(`{"status":7,"text":"enough"}`)}); err == nil {
		t.Error("it answered")
	}
	if err := receive(t, r.sink.exits); !containsAll(err.Error(), []string{"status 7", "enough"}) {
		t.Errorf("got %v", err)
	}
	r.checkGone(pids)
}

func unprivilegedHibernate(t *testing.T) {
	r := newRig(t, counter())
	r.activate()
	if err := r.Hibernate(r.contextFor(patience)); !errors.Is(err, shell.ErrNotSupported) {
		t.Errorf("got %v", err)
	}
	if got := r.count(); got != 41 {
		t.Errorf("it counts from %d", got)
	}
}

// copyProgram copies a file and makes the copy executable for all.
func copyProgram(to, from string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
