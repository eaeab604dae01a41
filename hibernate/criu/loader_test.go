package criu_test

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/internal/procfs"
)

// loaderPID returns the loader whose socket is in dir, 0 if there is none.
func loaderPID(dir string) int {
	paths, _ := filepath.Glob(dir + "/[0-9]*")
	if len(paths) == 0 {
		return 0
	}
	pid, _ := strconv.Atoi(filepath.Base(paths[0]))
	return pid
}

// One host after another hands the loading over, while threads change memory in all
// ways.
func TestLoadingIsHandedOver(t *testing.T) {
	e := openEngine(t)
	e.LoadOnDemand()
	const mib = 64
	s, dir := lazyImage(t, e, mib)
	m := folderMemories(t, dir)[1]
	loading := s.wake(t, e, m)
	var over atomic.Bool
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer over.Store(true)
		s.order(t, fmt.Sprintf("storm 0 %d", mib*256))
		s.order(t, fmt.Sprintf("fork 0 %d", mib*256))
	}()
	handed := 0
	for ; !over.Load(); handed++ {
		loading.Leave()
		<-loading.Done()
		next, err := e.RejoinLoading(m.lasting)
		must(t, err)
		if next == nil {
			t.Fatal("there is no loader")
		}
		wait(t, "it to be told", func() bool { _, total := next.Progress(); return total > 0 })
		loading = next
	}
	<-ended
	loading.Hurry()
	<-loading.Done()
	must(t, loading.Err())
	loading.Close()
	s.order(t, fmt.Sprintf("check 0 %d", mib*256))
	if handed == 0 || loaderPID(m.lasting) != 0 {
		t.Errorf("it was handed over %d times, and left is %d", handed, loaderPID(m.lasting))
	}
	s.End(t)
}

// When the loader was killed, threads wait for memory until the tree is killed.
func TestLoaderKilled(t *testing.T) {
	e := openEngine(t)
	e.LoadOnDemand()
	s, dir := lazyImage(t, e, 16)
	m := folderMemories(t, dir)[1]
	loading := s.wake(t, e, m)
	pid := loaderPID(m.lasting)
	must(t, syscall.Kill(pid, syscall.SIGKILL))
	must(t, unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)) // all its threads have ended, its socket is closed
	<-loading.Done()
	if err := loading.Err(); err == nil || err.Error() != "the process that loaded it has ended before all was in" {
		t.Errorf("got %v", err)
	}
	if next, err := e.RejoinLoading(m.lasting); err == nil || next != nil {
		t.Error("there is still a loader")
	}
	conn, err := net.Dial("unix", s.socket)
	must(t, err)
	defer conn.Close()
	_, err = fmt.Fprintln(conn, "check 0 4096")
	must(t, err)
	must(t, conn.SetReadDeadline(time.Now().Add(300*time.Millisecond)))
	if answer, err := io.ReadAll(conn); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("it read something where nothing was: %q, %v", answer, err)
	}
	s.End(t)
	loading.Close()
	if left := loaderPID(m.lasting); left != 0 {
		t.Errorf("%d is left", left)
	}
}

// A restore whose loader cannot be started says so once and leaves nothing.
func TestLoaderCannotStart(t *testing.T) {
	e := openEngine(t)
	s, dir := lazyImage(t, e, 16)
	m := folderMemories(t, dir)[1]
	file := filepath.Join(m.lasting, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	root, _, err := e.RestoreLazy(t.Context(), hibernate.RestoreOrder{Dir: dir, Cgroup: s.cgroup, LoaderDir: file + "/dir", Files: s.Files(t)}, m)
	if root != nil || !errors.Is(err, syscall.ENOTDIR) || strings.Count(err.Error(), "cannot start the process that loads the memory") != 1 {
		t.Errorf("got %v, %v", root, err)
	}
	if left := procfs.Children(os.Getpid()); len(left) > 0 || !m.closed {
		t.Errorf("left are %v, the memory is closed: %v", left, m.closed)
	}
}

// A restore whose loader is killed fails and leaves no process.
func TestLoaderKilledEarly(t *testing.T) {
	e := openEngine(t)
	s, dir := lazyImage(t, e, 16)
	for range 3 {
		m := folderMemories(t, dir)[1]
		begun := make(chan struct{})
		go func() {
			defer close(begun)
			wait(t, "the loader to start", func() bool { return loaderPID(m.lasting) != 0 })
			_ = syscall.Kill(loaderPID(m.lasting), syscall.SIGKILL)
		}()
		root, _, err := e.RestoreLazy(t.Context(), hibernate.RestoreOrder{Dir: dir, Cgroup: s.cgroup, LoaderDir: m.lasting, Files: s.Files(t)}, m)
		<-begun
		if err == nil || root != nil {
			t.Errorf("got %v", root)
		}
		if left := procfs.Children(os.Getpid()); len(left) > 0 || loaderPID(m.lasting) != 0 || !m.closed {
			t.Errorf("left are %v and %d, the memory is closed: %v", left, loaderPID(m.lasting), m.closed)
		}
	}
}
