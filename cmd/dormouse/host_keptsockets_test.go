package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// manager is systemd as far as a service hears of it.
type manager struct {
	t      *testing.T
	socket *net.UnixConn
	kept   map[string]*os.File
}

func newManager(t *testing.T) *manager {
	t.Helper()
	name := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	m := &manager{t, socket, make(map[string]*os.File)}
	t.Cleanup(func() {
		_ = socket.Close()
		for _, f := range m.kept {
			_ = f.Close()
		}
	})
	return m
}

func (m *manager) address() string { return m.socket.LocalAddr().String() }

// expect returns when the service says something that begins so, and keeps what it
// hands over before.
func (m *manager) expect(want string) {
	m.t.Helper()
	if err := m.socket.SetReadDeadline(time.Now().Add(testPatience)); err != nil {
		m.t.Fatal(err)
	}
	for {
		text, rights := make([]byte, 1000), make([]byte, unix.CmsgSpace(4))
		n, r, _, _, err := m.socket.ReadMsgUnix(text, rights)
		if err != nil {
			m.t.Fatalf("systemd is not told %q: %v", want, err)
		}
		if name, stores := strings.CutPrefix(string(text[:n]), "FDSTORE=1\nFDNAME="); stores {
			messages, err := unix.ParseSocketControlMessage(rights[:r])
			if err != nil || len(messages) != 1 {
				m.t.Fatalf("%s comes with %v, %v", name, messages, err)
			}
			fds, err := unix.ParseUnixRights(&messages[0])
			if err != nil || len(fds) != 1 {
				m.t.Fatalf("%s comes with %v, %v", name, fds, err)
			}
			m.kept[name] = os.NewFile(uintptr(fds[0]), name)
		}
		if strings.HasPrefix(string(text[:n]), want) {
			return
		}
	}
}

// named is a descriptor that a service is started with.
type named struct {
	name string
	file *os.File
}

// start starts a host with sockets, and leaves it more that it does not know of.
func (m *manager) start(root string, sockets []named, strays ...*os.File) *testHost {
	m.t.Helper()
	cmd := hostCommand(m.t, root, bothExamples)
	cmd.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ exec "$0" "$@"`}, cmd.Args...)
	var err error
	if cmd.Path, err = exec.LookPath("sh"); err != nil {
		m.t.Fatal(err)
	}
	names := make([]string, len(sockets))
	for i, s := range sockets {
		names[i] = s.name
		cmd.ExtraFiles = append(cmd.ExtraFiles, s.file)
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, strays...)
	cmd.Env = append(cmd.Env, fmt.Sprintf("LISTEN_FDS=%d", len(names)), "LISTEN_FDNAMES="+strings.Join(names, ":"),
		"NOTIFY_SOCKET="+m.address())
	return startCommand(m.t, root, cmd)
}

// store is what the service before has handed over.
func (m *manager) store() (all []named) {
	for name, f := range m.kept {
		all = append(all, named{name, f})
	}
	return all
}

// listening returns a socket on which no host accepts, and its address.
func listening(t *testing.T) (*os.File, string) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	f, err := l.File()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f, l.Addr().String()
}

// get asks for something in the background; the answer comes when a host serves.
func get(t *testing.T, address string) <-chan error {
	t.Helper()
	answer := make(chan error, 1)
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatalf("a client is refused: %v", err)
	}
	go func() {
		defer conn.Close()
		client := http.Client{Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
		}}
		response, err := client.Get("http://" + address + "/healthz")
		if err == nil {
			err = response.Body.Close()
		}
		answer <- err
	}()
	return answer
}

// A host that follows a killed one answers the clients that have connected in between. It
// closes the sockets that it does not need.
func TestSocketsAreKept(t *testing.T) {
	root := t.TempDir()
	m := newManager(t)
	first := m.start(root, nil)
	m.expect("READY=1")
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	first.exitCode(t)
	native, control := keptSocketName(filepath.Join(root, "run", "communicator")), keptSocketName(filepath.Join(root, "run", "control"))
	if len(m.kept) != 3 || m.kept["kept-127.0.0.1_0"] == nil || m.kept[native] == nil || m.kept[control] == nil {
		t.Fatalf("systemd keeps %v", m.kept)
	}
	m.kept["kept-gone"], _ = listening(t)

	answer := get(t, first.address)
	second := m.start(root, m.store())
	if second.address != first.address {
		t.Errorf("it listens on %s, clients look for it on %s", second.address, first.address)
	}
	if err := <-answer; err != nil {
		t.Errorf("a client that waited: %v", err)
	}
	if c, path := second.nativeClient(t); c == nil || keptSocketName(path) != native {
		t.Errorf("native clients find %s", path)
	}
	second.dormouse(t, "plugin", "list", "--host", "unix:"+filepath.Join(root, "run", "control")).expect(t, exitDone, "Counter")
	m.expect("FDSTOREREMOVE=1\nFDNAME=kept-gone")
	m.expect("READY=1")
	if code := second.end(t); code != exitDone {
		t.Errorf("the host ended with code %d", code)
	}
	m.expect("STOPPING=1")
	for _, name := range []string{"communicator", "control"} {
		if _, err := os.Stat(filepath.Join(root, "run", name)); !os.IsNotExist(err) {
			t.Errorf("the socket %s is left: %v", name, err)
		}
	}
}

// A kept socket that no path leads to any more is replaced.
func TestKeptSocketThatNobodyFinds(t *testing.T) {
	root := t.TempDir()
	m := newManager(t)
	first := m.start(root, nil)
	m.expect("READY=1")
	if err := first.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	first.exitCode(t)
	path := filepath.Join(root, "run", "communicator")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	second := m.start(root, m.store())
	m.expect("FDSTOREREMOVE=1\nFDNAME=" + keptSocketName(path))
	m.expect("READY=1")
	if c, used := second.nativeClient(t); c == nil || used != path {
		t.Errorf("native clients find %s", used)
	}
}

// A host that makes room leaves the way to its sockets.
func TestRelief(t *testing.T) {
	root := t.TempDir()
	m := newManager(t)
	h := m.start(root, nil)
	m.expect("READY=1")
	if err := h.cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	m.expect("STOPPING=1")
	if code := h.exitCode(t); code != exitDone {
		t.Errorf("the host ended with code %d", code)
	}
	answer := get(t, h.address)
	next := m.start(root, m.store())
	if err := <-answer; err != nil {
		t.Errorf("a client that waited: %v", err)
	}
	if left := next.log.String(); strings.Contains(left, "served there any more") {
		t.Errorf("a socket was given up:\n%s", left)
	}
}

// Sockets that systemd made are passed on to what is executed in the host's place.
func TestHandedSocketsArePassedOn(t *testing.T) {
	root := t.TempDir()
	m := newManager(t)
	socket, address := listening(t)
	h := m.start(root, []named{{"dormouse.socket", socket}})
	if err := socket.Close(); err != nil { // systemd would keep it
		t.Fatal(err)
	}
	m.expect("READY=1")
	if h.address != address {
		t.Fatalf("it listens on %s, it was handed %s", h.address, address)
	}
	for range 2 {
		if err := h.cmd.Process.Signal(syscall.SIGUSR2); err != nil {
			t.Fatal(err)
		}
		m.expect("RELOADING=1\n")
		if err := <-get(t, address); err != nil {
			t.Errorf("a client that waited: %v", err)
		}
		m.expect("READY=1")
	}
	if _, native := h.nativeClient(t); native != filepath.Join(root, "run", "communicator") {
		t.Errorf("native clients find %s", native)
	}
}
