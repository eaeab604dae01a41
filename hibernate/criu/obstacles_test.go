package criu_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"dormouse/hibernate"
	"dormouse/hibernate/criu"
	"dormouse/internal/procfs"
)

// openable has functions that open an object for good. The keys are the words by which
// an obstacle names the object; an object whose key begins with "ok" is no obstacle.
var openable = map[string]func() (int, error){
	"":                      func() (int, error) { return 0, nil },
	"io_uring":              ioUring,
	"a performance counter": perfEvent,
	"a socket of protocol MPTCP": func() (int, error) {
		return listening(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, unix.IPPROTO_MPTCP))
	},
	"userfaultfd": func() (int, error) {
		fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC, 0, 0)
		if errno != 0 {
			return 0, errno
		}
		return int(fd), nil
	},
	"a socket of protocol AF_VSOCK": func() (int, error) { return unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0) },
	"the device /dev/kvm":           func() (int, error) { return unix.Open("/dev/kvm", unix.O_RDWR|unix.O_CLOEXEC, 0) },
	"the device /dev/fuse":          func() (int, error) { return unix.Open("/dev/fuse", unix.O_RDWR|unix.O_CLOEXEC, 0) },
	"a file of a process":           func() (int, error) { return unix.Open("/proc/self/status", unix.O_RDONLY|unix.O_CLOEXEC, 0) },

	"ok null":    func() (int, error) { return unix.Open("/dev/null", unix.O_RDWR|unix.O_CLOEXEC, 0) },
	"ok proc":    func() (int, error) { return unix.Open("/proc/meminfo", unix.O_RDONLY|unix.O_CLOEXEC, 0) },
	"ok eventfd": func() (int, error) { return unix.Eventfd(0, unix.EFD_CLOEXEC) },
	"ok inotify": func() (int, error) { return unix.InotifyInit1(unix.IN_CLOEXEC) },
	"ok timerfd": func() (int, error) { return unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC) },
	"ok memfd":   func() (int, error) { return unix.MemfdCreate("x", unix.MFD_CLOEXEC) },
	"ok tcp": func() (int, error) {
		return listening(unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0))
	},
	"ok pair": func() (int, error) {
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		return pair[0], err
	},
}

func openObject(what string) error {
	begin := openable[what]
	switch what {
	case "landlock":
		begin = restrictProcess
	case "landlock thread":
		begin = restrictThread
	case "many files":
		begin = manyFiles
	}
	_, err := begin()
	return err
}

func manyFiles() (fd int, err error) {
	for range 500 {
		if fd, err = unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			break
		}
	}
	return fd, err
}

func ioUring() (int, error) {
	var parameters [120]byte
	fd, _, errno := unix.Syscall(unix.SYS_IO_URING_SETUP, 8, uintptr(unsafe.Pointer(&parameters)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(fd), nil
}

func listening(fd int, err error) (int, error) {
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}})
	}
	if err == nil {
		err = unix.Listen(fd, 1)
	}
	return fd, err
}

func perfEvent() (int, error) {
	return unix.PerfEventOpen(&unix.PerfEventAttr{
		Type: unix.PERF_TYPE_SOFTWARE, Config: unix.PERF_COUNT_SW_PAGE_FAULTS, Size: uint32(unix.PERF_ATTR_SIZE_VER0),
	}, 0, -1, -1, unix.PERF_FLAG_FD_CLOEXEC)
}

// TestObstacles compares the obstacles with CRIU itself, which must fail to dump or to
// restore each of them, and none of the other objects.
func TestObstacles(t *testing.T) {
	e := openEngine(t)
	for holding, try := range openable {
		t.Run(holding, func(t *testing.T) {
			fd, err := try()
			if err != nil {
				t.Skipf("cannot be opened on this machine: %v", err)
			}
			if fd > 0 {
				must(t, unix.Close(fd))
			}
			s := startSubjectWith(t, holding, syscall.SIGKILL)
			begun := time.Now()
			err = errors.Join(e.ObstaclesAnyTime(procfs.Tree(s.PID())), e.ObstaclesWhenQuiet(procfs.Tree(s.PID())))
			t.Logf("looked for %s", time.Since(begun))
			fine := holding == "" || strings.HasPrefix(holding, "ok")
			if fine != (err == nil) || !fine && (!errors.Is(err, hibernate.ErrObstacle) || !strings.Contains(err.Error(), "has "+holding)) {
				t.Errorf("got %v", err)
			}
			if err := sleepAndWake(t, e, s); fine != (err == nil) {
				t.Errorf("CRIU says %v", err)
			}
		})
	}
}

// sleepAndWake dumps and restores the subject, and returns the error. The subject ends.
func sleepAndWake(t *testing.T, e *criu.Engine, s *subject) error {
	t.Helper()
	dir := t.TempDir()
	err := e.Dump(t.Context(), hibernate.DumpOrder{PID: s.PID(), Dir: dir, Cgroup: s.cgroup})
	s.End(t)
	if err != nil {
		return fmt.Errorf("cannot dump: %w", err)
	}
	files := s.Files(t)
	root, err := repeatAfterTrap(func() (*os.Process, error) {
		return e.Restore(t.Context(), hibernate.RestoreOrder{Dir: dir, Cgroup: s.cgroup, Files: files})
	})
	if err != nil {
		return fmt.Errorf("cannot restore: %w", err)
	}
	s.SetRoot(t, root)
	s.End(t)
	return nil
}

// TestObstaclesWhenQuiet looks at a connection to the subject, as one within a tree and
// as one to a process outside.
func TestObstaclesWhenQuiet(t *testing.T) {
	e := criu.Open("", t.TempDir())
	socket := filepath.Join(t.TempDir(), "host")
	listener, err := net.Listen("unix", socket)
	must(t, err)
	defer listener.Close()
	s := startSubject(t)
	defer s.End(t)
	must(t, e.ObstaclesWhenQuiet([]int{s.PID()}))
	// The far end of this connection belongs to the subject.
	conn, err := net.Dial("unix", s.socket)
	must(t, err)
	defer conn.Close()
	tree := procfs.Tree(s.PID())
	wait(t, "the subject to accept", func() bool { return e.ObstaclesWhenQuiet(tree) != nil })
	err = e.ObstaclesWhenQuiet([]int{os.Getpid()})
	if !errors.Is(err, hibernate.ErrObstacle) || !strings.Contains(err.Error(), "outside of the plugin, at "+s.socket) {
		t.Errorf("got %v", err)
	}
	if err := e.ObstaclesWhenQuiet(append(tree, os.Getpid())); err != nil {
		t.Errorf("a connection within the tree is in the way: %v", err)
	}
	must(t, conn.Close())
	wait(t, "the subject to notice", func() bool { return e.ObstaclesWhenQuiet(tree) == nil })
}
