package descriptors

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// newSocket returns a socket of this process, which the tests use as the tree.
func newSocket(t *testing.T, family, kind int) (fd int, place Place) {
	t.Helper()
	fd, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd, Place{os.Getpid(), fd}
}

// replace gives the descriptor a new socket, as an engine does.
func replace(t *testing.T, fd, family, kind int) {
	t.Helper()
	other, err := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Dup3(other, fd, unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := unix.Close(other); err != nil {
		t.Fatal(err)
	}
}

// notesOf returns the notes of this process about one descriptor.
func notesOf(t *testing.T, place Place) (one Notes) {
	t.Helper()
	all, err := Take([]int{os.Getpid()})
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range all.Sockets {
		if s.Descriptor == place.Descriptor {
			one.Sockets = append(one.Sockets, s)
		}
	}
	for _, l := range all.Locks {
		if l.Descriptor == place.Descriptor {
			one.Locks = append(one.Locks, l)
		}
	}
	return one
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestNewSocketsNeedNoNotes(t *testing.T) {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6, unix.AF_UNIX} {
		for _, kind := range []int{unix.SOCK_STREAM, unix.SOCK_DGRAM} {
			_, place := newSocket(t, family, kind)
			if n := notesOf(t, place); len(n.Sockets) > 0 {
				t.Errorf("family %d, kind %d: %v", family, kind, n.Sockets)
			}
		}
	}
}

func TestOptionsAndGroupsAreSetAgain(t *testing.T) {
	fd, place := newSocket(t, unix.AF_INET, unix.SOCK_DGRAM)
	must(t, unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TOS, 0x10)) // which changes SO_PRIORITY
	must(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY, 0))
	must(t, unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_MULTICAST_TTL, 9))
	must(t, unix.SetsockoptIPMreqn(fd, unix.SOL_IP, unix.IP_ADD_MEMBERSHIP, &unix.IPMreqn{Multiaddr: [4]byte{239, 1, 1, 7}, Ifindex: 1}))
	must(t, unix.SetsockoptIPMreqn(fd, unix.SOL_IP, unix.IP_MULTICAST_IF, &unix.IPMreqn{Ifindex: 1}))
	notes := notesOf(t, place)
	want := []Group{{Address: netip.MustParseAddr("239.1.1.7"), Interface: "lo"}}
	if diff := cmp.Diff(want, notes.Sockets[0].Groups, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("groups (-want +got):\n%s", diff)
	}
	replace(t, fd, unix.AF_INET, unix.SOCK_DGRAM)
	for range 2 { // as for a golden image, or after an attempt that failed
		must(t, notes.Apply([]int{os.Getpid()}))
	}
	if diff := cmp.Diff(notes, notesOf(t, place), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
		t.Errorf("notes of the restored socket (-before +after):\n%s", diff)
	}
	if n, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PRIORITY); err != nil || n != 0 {
		t.Errorf("the priority is %d, %v, want 0", n, err)
	}
}

// The kernel gives a connection options that can't be set: a wake must not try.
func TestEndedConnectionNeedsNoNotes(t *testing.T) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	fd, place := newSocket(t, unix.AF_INET, unix.SOCK_STREAM)
	address, ok := listener.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("got %v", listener.Addr())
	}
	must(t, unix.Connect(fd, &unix.SockaddrInet4{Port: address.Port, Addr: [4]byte{127, 0, 0, 1}}))
	server, err := listener.Accept()
	must(t, err)
	must(t, server.(*net.TCPConn).SetLinger(0)) //nolint:errcheck,forcetypeassert // so that Close resets the connection
	must(t, server.Close())
	if _, err := unix.Read(fd, make([]byte, 1)); !errors.Is(err, unix.ECONNRESET) {
		t.Fatalf("the connection was not reset: %v", err)
	}
	if size, err := unix.GetsockoptInt(fd, unix.SOL_TCP, unix.TCP_MAXSEG); err != nil || size < 32768 {
		t.Logf("its segments have %d bytes, %v: that could be set", size, err)
	}
	notes := notesOf(t, place)
	replace(t, fd, unix.AF_INET, unix.SOCK_STREAM)
	must(t, notes.Apply([]int{os.Getpid()}))
}

func TestMissingInterfaceIsNamed(t *testing.T) {
	for name, change := range map[string]func(*Socket){
		"group":               func(s *Socket) { s.Groups = []Group{{Address: netip.MustParseAddr("239.1.1.7"), Interface: "nosuch0"}} },
		"option":              func(s *Socket) { s.Options = []Option{{"IP_UNICAST_IF", []byte("nosuch0")}} },
		"multicast interface": func(s *Socket) { s.MulticastInterface = "nosuch0" },
	} {
		t.Run(name, func(t *testing.T) {
			_, place := newSocket(t, unix.AF_INET, unix.SOCK_DGRAM)
			s := Socket{Place: place}
			change(&s)
			err := Notes{Sockets: []Socket{s}}.Apply([]int{os.Getpid()})
			if err == nil || !strings.Contains(err.Error(), "there is no network interface nosuch0 now") {
				t.Errorf("error %v, want one that names the interface", err)
			}
		})
	}
}

func TestParseGroups(t *testing.T) {
	const four = "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n1\tlo        :     1      V3\n\t\t\t\t010000E0     1 0:00000000\t\t0\n" +
		"4\teth0      :     2      V3\n\t\t\t\tFB0000E0     1 0:00000000\t\t0\n\t\t\t\t010000E0     1 0:00000000\t\t0\n"
	const six = "4    eth0            ff0200000000000000000001ff000002     1 00000004 0\n"
	got := append(parseGroups(four), parseGroups6(six)...)
	want := []joinedGroup{{netip.MustParseAddr("224.0.0.1"), 1}, {netip.MustParseAddr("224.0.0.251"), 4}, {netip.MustParseAddr("224.0.0.1"), 4}, {netip.MustParseAddr("ff02::1:ff00:2"), 4}}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("groups %v, want %v", got, want)
		}
	}
}

func TestLocksConflict(t *testing.T) {
	write := fileLock{Kind: recordKind, File: "fe:00:7", Write: true, Start: 10, End: 20}
	for name, c := range map[string]struct {
		other fileLock
		want  bool
	}{
		"the same":              {write, true},
		"of a description":      {fileLock{Kind: descriptionKind, File: "fe:00:7", Start: 20, End: 30}, true},
		"of other bytes":        {fileLock{Kind: recordKind, File: "fe:00:7", Write: true, Start: 21, End: 30}, false},
		"of another file":       {fileLock{Kind: recordKind, File: "fe:00:8", Write: true, Start: 10, End: 20}, false},
		"by flock":              {fileLock{Kind: flockKind, File: "fe:00:7", Write: true, End: 1 << 62}, false},
		"of an earlier section": {fileLock{Kind: recordKind, File: "fe:00:7", Write: true, Start: 0, End: 9}, false},
	} {
		if got := write.conflictsWith(c.other); got != c.want {
			t.Errorf("%s: conflicts %v, want %v", name, got, c.want)
		}
	}
	read := fileLock{Kind: flockKind, File: "fe:00:7", End: 1 << 62}
	if read.conflictsWith(read) {
		t.Error("two locks for reading conflict")
	}
}

// What belongs to an open file is held beside the tree, and goes with the last holder.
func TestHeldLocks(t *testing.T) {
	path := t.TempDir() + "/f"
	f, err := os.Create(path)
	must(t, err)
	must(t, unix.Flock(int(f.Fd()), unix.LOCK_EX))
	notes := notesOf(t, Place{os.Getpid(), int(f.Fd())})
	held, err := notes.ShareLocks([]int{os.Getpid()})
	must(t, err)
	must(t, f.Close())
	held.Hold()
	other, err := os.Open(path)
	must(t, err)
	defer other.Close()
	take := func() error { return unix.Flock(int(other.Fd()), unix.LOCK_SH|unix.LOCK_NB) }
	if err := take(); err == nil {
		t.Error("the lock was taken")
	}
	if err := notes.CheckLocksFree(); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("error %v, want one that names %s", err, path)
	}
	must(t, held.Release())
	must(t, notes.CheckLocksFree())
	held.Hold()
	if err := take(); err == nil {
		t.Error("the lock was taken")
	}
	must(t, held.Close())
	must(t, take())
}

// The timers of this process tick on when they are set as they were noted.
func TestTimerIsSetAgain(t *testing.T) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC)
	must(t, err)
	defer unix.Close(fd) //nolint:errcheck // nothing was written
	every := unix.NsecToTimespec(int64(5 * time.Millisecond))
	must(t, unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{Interval: every, Value: every}, nil))
	ready := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	_, err = unix.Poll(ready, 1000)
	must(t, err)
	notes, err := Take([]int{os.Getpid()})
	must(t, err)
	must(t, unix.TimerfdSettime(fd, 0, &unix.ItimerSpec{}, nil)) // as CRIU leaves it
	must(t, notes.Apply([]int{os.Getpid()}))
	for range 3 {
		n, err := unix.Poll(ready, 1000)
		if err != nil || n != 1 {
			t.Fatalf("the timer does not tick: %d, %v", n, err)
		}
		if _, err := unix.Read(fd, make([]byte, 8)); err != nil {
			t.Fatal(err)
		}
	}
}

// BenchmarkTake takes the notes of a tree with a few sockets, such as a small plugin has.
func BenchmarkTake(b *testing.B) {
	for range 2 {
		tcp, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer tcp.Close()
		udp, err := net.ListenPacket("udp4", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		defer udp.Close()
		local, err := net.Listen("unix", b.TempDir()+"/s")
		if err != nil {
			b.Fatal(err)
		}
		defer local.Close()
	}
	for b.Loop() {
		if _, err := Take([]int{os.Getpid()}); err != nil {
			b.Fatal(err)
		}
	}
}
