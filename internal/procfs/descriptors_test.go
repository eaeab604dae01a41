package procfs

import (
	"net"
	"os"
	"path/filepath"
	"slices"
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

func TestDescriptors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	d := find(t, int(file.Fd()))
	if _, device := d.Device(); d.Target != path || device || d.Socket() != 0 || d.Protocol() != "" {
		t.Errorf("a file is %+v", d)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if number, ok := find(t, int(null.Fd())).Device(); !ok || unix.Major(number) != 1 || unix.Minor(number) != 3 {
		t.Errorf("/dev/null is device %d, %v", number, ok)
	}
	if gone := Descriptors(1 << 30); len(gone) != 0 {
		t.Errorf("no process has %v open", gone)
	}
}

func TestUnixSockets(t *testing.T) {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0]) //nolint:errcheck // nothing was written that could be lost
	one, other := find(t, pair[0]), find(t, pair[1])
	path := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	abstract, err := net.Listen("unix", "@dormouse-"+filepath.Base(t.TempDir())+path)
	if err != nil {
		t.Fatal(err)
	}
	defer abstract.Close()

	sockets, err := UnixSockets()
	if err != nil {
		t.Fatal(err)
	}
	if one.Protocol() != "UNIX-STREAM" || sockets[one.Socket()].Peer != other.Socket() || sockets[other.Socket()].Peer != one.Socket() {
		t.Errorf("a pair of %s is %+v and %+v", one.Protocol(), sockets[one.Socket()], sockets[other.Socket()])
	}
	named := make(map[string]bool)
	for _, s := range sockets {
		named[s.Name] = true
	}
	if !named[path] || !named[abstract.Addr().String()] {
		t.Errorf("the listeners at %s and %s are missing", path, abstract.Addr())
	}
	if err := unix.Close(pair[1]); err != nil {
		t.Fatal(err)
	}
	if sockets, err = UnixSockets(); err != nil || sockets[one.Socket()].Peer != 0 {
		t.Errorf("a socket whose peer is closed is %+v, %v", sockets[one.Socket()], err)
	}
}

func TestCommand(t *testing.T) {
	if got := Command(os.Getpid()); got != "procfs.test" {
		t.Errorf("got %q", got)
	}
}
