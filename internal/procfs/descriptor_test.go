package procfs

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// find returns the descriptor of this process that f is.
func find(t *testing.T, fd int) Descriptor {
	t.Helper()
	all := Descriptors(os.Getpid())
	i := slices.IndexFunc(all, func(d Descriptor) bool { return d.FD == fd })
	if i < 0 {
		t.Fatalf("descriptor %d is not among %v", fd, all)
	}
	return all[i]
}

// raw returns a duplicate of the connection's or listener's descriptor, so that it
// can be found.
func raw(t *testing.T, of any) int {
	t.Helper()
	c, ok := of.(syscall.Conn)
	if !ok {
		t.Fatalf("%v has no descriptor", of)
	}
	control, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var dup int
	if cerr := control.Control(func(fd uintptr) { dup, err = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0) }); cerr != nil || err != nil {
		t.Fatal(cerr, err)
	}
	t.Cleanup(func() { _ = unix.Close(dup) })
	return dup
}

func TestDescriptors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	d := find(t, int(file.Fd()))
	if f, err := d.File(); err != nil || d.Target != path || f.Type != unix.S_IFREG || f.Links != 1 || f.IsDeleted() || d.SocketInode() != 0 || d.SocketProtocol() != "" {
		t.Errorf("a file is %+v, %+v, error %v", d, f, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if f, err := find(t, int(file.Fd())).File(); err != nil || !f.IsDeleted() {
		t.Errorf("a deleted file is %+v, error %v", f, err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if f, err := find(t, int(null.Fd())).File(); err != nil || f.Type != unix.S_IFCHR || f.Device != unix.Mkdev(1, 3) {
		t.Errorf("/dev/null is %+v, error %v", f, err)
	}
	if gone := Descriptors(1 << 30); len(gone) != 0 {
		t.Errorf("no process has %v open", gone)
	}
}

func TestUnread(t *testing.T) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd) //nolint:errcheck // nothing was written that could be lost
	d := find(t, fd)
	if unread, err := d.HasUnreadData(); err != nil || unread {
		t.Errorf("a new one has something to read: %v, %v", unread, err)
	}
	request := []byte{20, 0, 0, 0, 18, 0, 1, 3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // RTM_GETLINK, all
	if err := unix.Sendto(fd, request, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	if unread, err := d.HasUnreadData(); err != nil || !unread {
		t.Errorf("with an answer it has nothing to read: %v, %v", unread, err)
	}
}
