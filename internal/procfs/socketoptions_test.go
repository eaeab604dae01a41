package procfs

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestSocketFile(t *testing.T) {
	dir, err := os.MkdirTemp("", "s") //nolint:usetesting // short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path, renamed := filepath.Join(dir, "bound"), filepath.Join(dir, "renamed")
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written that could be lost
	check := func(wantPath string, wantNames uint64) {
		t.Helper()
		if at, names := find(t, fd).SocketFile(); at != wantPath || names != wantNames {
			t.Errorf("it lies at %q with %d names, want %q with %d", at, names, wantPath, wantNames)
		}
	}
	check("", 0)
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: path}); err != nil {
		t.Fatal(err)
	}
	check(path, 1)
	if err := os.Rename(path, renamed); err != nil {
		t.Fatal(err)
	}
	check(renamed, 1)
	if err := os.Link(renamed, path); err != nil {
		t.Fatal(err)
	}
	check(renamed, 2)
}

func TestSocketOptions(t *testing.T) {
	udp, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(udp) //nolint:errcheck // nothing was written that could be lost
	for _, cork := range []int{0, 1} {
		if err := unix.SetsockoptInt(udp, unix.IPPROTO_UDP, 1, cork); err != nil {
			t.Fatal(err)
		}
		if got := find(t, udp).IsCorked(); got != (cork == 1) {
			t.Errorf("with UDP_CORK %d it is corked: %t", cork, got)
		}
	}
	netlink, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(netlink) //nolint:errcheck // as above
	for _, group := range []int{28, 33} {
		if err := unix.SetsockoptInt(netlink, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, group); err != nil {
			t.Fatal(err)
		}
		if got := find(t, netlink).HasHighNetlinkGroup(); got != (group > 32) {
			t.Errorf("in group %d it is in a high group: %t", group, got)
		}
	}
}

func TestScheduling(t *testing.T) {
	s, err := SchedulingOf(os.Getpid())
	if err != nil || s != (Scheduling{}) {
		t.Errorf("this process has %+v, error %v", s, err)
	}
	if _, err := SchedulingOf(1 << 30); err == nil {
		t.Error("no process has a scheduling")
	}
	own, err := HardeningOf(os.Getpid())
	if err != nil || own.ShadowStack != "" {
		t.Errorf("this process has %+v, error %v", own, err)
	}
}
