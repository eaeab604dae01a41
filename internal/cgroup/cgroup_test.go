package cgroup

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// newCgroup makes a cgroup that the test must leave empty or removed. It skips the test
// where no cgroup can be made, unless DORMOUSE_REQUIRE_CRIU=1 says that one must.
func newCgroup(t *testing.T) Dir {
	t.Helper()
	dir, err := makeCgroup()
	switch {
	case err != nil && os.Getenv("DORMOUSE_REQUIRE_CRIU") == "1":
		t.Fatal(err)
	case err != nil:
		t.Skipf("no cgroup can be made here: %v", err)
	}
	t.Cleanup(func() {
		if dir.Exists() {
			if err := errors.Join(dir.KillAndWait(), dir.RemoveTreeWhenEmpty()); err != nil {
				t.Error(err)
			}
		}
	})
	return dir
}

func makeCgroup() (Dir, error) {
	mount, err := MountPoint()
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp(mount, "dormouse-cgroup-test-")
	return Dir(dir), err
}

// startIn starts a program in the cgroup that ends only when it is killed.
func startIn(t *testing.T, d Dir) *exec.Cmd {
	t.Helper()
	fd, err := os.Open(string(d))
	must(t, err)
	defer fd.Close()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(fd.Fd()), Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestOwn(t *testing.T) {
	newCgroup(t) // or skip
	own, err := Own()
	must(t, err)
	if !slices.Contains(own.Members(), os.Getpid()) {
		t.Errorf("this process is not in %s", own)
	}
}

func TestMembers(t *testing.T) {
	dir := newCgroup(t)
	cmd := startIn(t, dir)
	pid := cmd.Process.Pid
	if got := dir.Members(); !slices.Equal(got, []int{pid}) {
		t.Errorf("the members are %v, not %d", got, pid)
	}
	if !dir.HasMember(pid) || dir.HasMember(os.Getpid()) {
		t.Errorf("it contains %d: %v, this process: %v", pid, dir.HasMember(pid), dir.HasMember(os.Getpid()))
	}
	if got := dir.MembersOutsideTree(os.Getpid()); len(got) != 0 {
		t.Errorf("%v are outside of the tree of their parent", got)
	}
	if got := dir.MembersOutsideTree(pid + 1<<22); !slices.Equal(got, []int{pid}) {
		t.Errorf("outside of no tree are %v", got)
	}
	if got := dir.Child("missing").Members(); got != nil {
		t.Errorf("a missing cgroup has the members %v", got)
	}
}

func TestFreeze(t *testing.T) {
	dir := newCgroup(t)
	startIn(t, dir)
	frozen := func() bool { return strings.Contains(dir.readFile("cgroup.events"), "frozen 1") }
	must(t, dir.FreezeAndWait(t.Context()))
	if !frozen() {
		t.Error("it is not frozen")
	}
	must(t, dir.Thaw())
	must(t, dir.pollForEvent("frozen 0", t.Context().Err))
	ended, end := context.WithCancel(t.Context())
	end()
	if err := dir.FreezeAndWait(ended); err != nil && !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	must(t, dir.Thaw())
}

func TestKill(t *testing.T) {
	dir := newCgroup(t)
	must(t, dir.Child("a").Make())
	must(t, dir.Child("a").Child("b").Make())
	commands := []*exec.Cmd{startIn(t, dir), startIn(t, dir.Child("a").Child("b"))}
	must(t, dir.KillAndWait())
	for _, cmd := range commands {
		if err := cmd.Wait(); err == nil {
			t.Error("it ended by itself")
		}
	}
	must(t, dir.RemoveTreeWhenEmpty())
	if dir.Exists() {
		t.Error("it is still there")
	}
	if err := dir.KillAndWait(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("to kill a removed cgroup returned %v", err)
	}
}

// The wait for an event ends with the caller's error.
func TestWaitEventGivesUp(t *testing.T) {
	dir := newCgroup(t)
	startIn(t, dir)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := dir.pollForEvent("populated 0", ctx.Err); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestControllers(t *testing.T) {
	dir := Dir(t.TempDir())
	must(t, os.WriteFile(dir.filePath("cgroup.controllers"), []byte("cpu memory\n"), 0o600))
	must(t, os.WriteFile(dir.filePath("cgroup.subtree_control"), []byte("cpu\n"), 0o600))
	for name, want := range map[string][2]bool{"cpu": {true, true}, "memory": {true, false}, "mem": {}} {
		if got := [2]bool{dir.HasController(name), dir.IsEnabledForChildren(name)}; got != want {
			t.Errorf("%s: got %v, want %v", name, got, want)
		}
	}
	must(t, os.Truncate(dir.filePath("cgroup.subtree_control"), 0))
	must(t, dir.EnableForChildren("memory"))
	if got := dir.readFile("cgroup.subtree_control"); got != "+memory" {
		t.Errorf("it wrote %q", got)
	}
}

func TestOOMKills(t *testing.T) {
	for text, want := range map[string]int{
		"": 0,
		"low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 0\n": 2,
		"oom 7\noom_kill \n": 0,
	} {
		dir := Dir(t.TempDir())
		must(t, os.WriteFile(filepath.Join(string(dir), "memory.events"), []byte(text), 0o600))
		if got := dir.OOMKillCount(); got != want {
			t.Errorf("%q: got %d, want %d", text, got, want)
		}
	}
	if kills, bytes := Dir("").OOMKillCount(), Dir("").MemoryBytes(); kills != 0 || bytes != 0 {
		t.Errorf("no cgroup has %d kills and %d bytes", kills, bytes)
	}
}
