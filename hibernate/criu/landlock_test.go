package criu_test

import (
	"errors"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/internal/procfs"
)

// restrict puts the thread into a Landlock domain.
func restrict() error {
	attributes := unix.LandlockRulesetAttr{Handled_access_fs: unix.LANDLOCK_ACCESS_FS_MAKE_BLOCK}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attributes)), unsafe.Sizeof(attributes.Handled_access_fs), 0)
	if errno != 0 {
		return errno
	}
	defer unix.Close(int(fd)) //nolint:errcheck // nothing was written that could be lost
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); errno != 0 {
		return errno
	}
	return nil
}

// restrictProcess puts the whole process into a Landlock domain, by executing itself
// there.
func restrictProcess() (int, error) {
	if held, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0); held == 1 || err != nil {
		return 0, err
	}
	runtime.LockOSThread()
	if err := restrict(); err != nil {
		return 0, err
	}
	return 0, syscall.Exec("/proc/self/exe", os.Args, os.Environ())
}

// restrictThread puts one thread, which lives on, into a Landlock domain.
func restrictThread() (int, error) {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- restrict()
		select {}
	}()
	return 0, <-done
}

// TestLandlockDomains looks for domains in a stopped tree, and then for the remembered
// ones in the running tree.
func TestLandlockDomains(t *testing.T) {
	e := openEngine(t)
	for holding, confined := range map[string]bool{"": false, "landlock": true, "landlock thread": true} {
		t.Run(holding, func(t *testing.T) {
			if _, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION); errno != 0 {
				t.Skipf("this machine has no Landlock: %v", errno)
			}
			s := startSubjectWith(t, holding, syscall.SIGKILL)
			defer s.End(t)
			s.Advance(t)
			tree := procfs.Tree(s.PID())
			must(t, e.ObstaclesAnyTime(tree))
			must(t, e.Dump(t.Context(), hibernate.DumpOrder{PID: s.PID(), Dir: t.TempDir(), Cgroup: s.cgroup}))
			check := func(look func([]int) error) {
				t.Helper()
				begun := time.Now()
				err := look(tree)
				t.Logf("looked at %d threads for %s", len(procfs.ThreadIDs(tree[1]))+1, time.Since(begun))
				if confined != errors.Is(err, hibernate.ErrObstacle) || !confined && err != nil {
					t.Errorf("got %v", err)
				}
				if confined && !strings.Contains(err.Error(), "process "+strconv.Itoa(tree[1])) {
					t.Errorf("it is not named: %v", err)
				}
			}
			check(e.ObstaclesWhenStopped)
			s.Continue(t)
			check(e.ObstaclesAnyTime)
			if got := s.State(t); got != "1" {
				t.Errorf("it says %s", got)
			}
		})
	}
}

// A process of another user is not taken for one in a domain.
func TestOtherUserIsNoLandlockDomain(t *testing.T) {
	e := openEngine(t)
	program, _ := compileHolder(t)
	h, said := startHolder(t, program, "other-user")
	defer h.end(t)
	if said != "ready" {
		t.Fatalf("it says %q", said)
	}
	tree := procfs.Tree(h.PID())
	for _, pid := range tree {
		must(t, unix.Kill(pid, unix.SIGSTOP))
		wait(t, "it stops", func() bool { return procfs.IsStopped(pid) })
	}
	if err := e.ObstaclesWhenStopped(tree); err != nil {
		t.Error(err)
	}
	procfs.ContinueStopped(tree)
	if said := h.check(); said != "ok" {
		t.Errorf("it says %q", said)
	}
	if left := procfs.Children(os.Getpid()); len(left) != 1 {
		t.Errorf("besides the program there is one of %v left", left)
	}
}
