package communicator

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rs/zerolog"

	"dormouse/internal/unixsock"
)

func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dc") //nolint:usetesting // the name of t.TempDir may be too long for a socket in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// listenFor listens at path for the group.
func listenFor(path string, group Group) (net.Listener, error) {
	l, err := unixsock.ListenReplacingStale(path)
	if err != nil {
		return nil, err
	}
	if err := group.SetSocketAccess(path, true); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func TestGroup(t *testing.T) {
	if _, err := LookupGroup("no-such-group"); err == nil || !strings.Contains(err.Error(), "groupadd") {
		t.Errorf("got %v", err)
	}
	own, err := user.LookupGroupId("0")
	if err != nil || os.Geteuid() != 0 {
		t.Skip("only root can give a socket to a group")
	}
	group, err := LookupGroup(own.Name)
	if err != nil {
		t.Fatal(err)
	}
	dir := shortDir(t)
	path := filepath.Join(dir, "communicator")
	l, err := listenFor(path, group)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for name, want := range map[string]os.FileMode{path: 0o660, dir: 0o710} {
		info, err := os.Stat(name)
		if err != nil || info.Mode().Perm() != want || info.Sys().(*syscall.Stat_t).Gid != 0 { //nolint:errcheck // it is that on Linux
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
}

func TestWhoMayConnect(t *testing.T) {
	group := Group{name: "tv", id: 44, named: true}
	us := os.Geteuid()
	for _, test := range []struct {
		name  string
		group Group
		who   unixsock.Peer
		may   bool
	}{
		{"root", Group{}, unixsock.Peer{UID: 0}, true},
		{"the host's user", Group{}, unixsock.Peer{UID: us}, true},
		{"somebody", Group{}, unixsock.Peer{UID: us + 1000, GID: 44}, false},
		{"a member", group, unixsock.Peer{UID: us + 1000, GID: 44}, true},
		{"a member besides", group, unixsock.Peer{UID: us + 1000, GID: 7, Groups: []uint32{9, 44}}, true},
		{"no member", group, unixsock.Peer{UID: us + 1000, GID: 7, Groups: []uint32{9}}, false},
	} {
		if err := test.group.checkMayConnect(test.who); (err == nil) != test.may {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

// TestOtherUsers lets processes of other users come.
func TestOtherUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	group := Group{name: "tv", id: 4444, named: true}
	dir := shortDir(t)
	path := filepath.Join(dir, "communicator")
	l, err := listenFor(path, group)
	if err != nil {
		t.Fatal(err)
	}
	g := newConnectionList(nativeLimits, zerolog.Nop(), identifyNative(group), nil)
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			if conn, _, err := g.ServerHandshake(raw); err == nil {
				_, _ = io.WriteString(conn, "come in")
				_ = conn.Close()
			}
		}
	})
	defer serving.Wait()
	defer l.Close()
	come := func(gid uint32, groups ...uint32) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe") // whatever directory it lies in
		cmd.Env = []string{visit + "=" + path}
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: gid, Groups: groups}}
		out, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if got := come(4444); got != "come in" {
		t.Errorf("a member was told %q", got)
	}
	if got := come(65534, 7, 4444); got != "come in" {
		t.Errorf("a member besides was told %q", got)
	}
	if got := come(65534); !strings.Contains(got, "permission denied") {
		t.Errorf("a stranger was told %q", got)
	}
	for _, name := range []string{dir, path} { // the gate is there besides
		if err := os.Chmod(name, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	if got := come(65534); got != "" {
		t.Errorf("a stranger at an open door was told %q", got)
	}

	deep := filepath.Join(dir, "root", "run")
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	if l, err := listenFor(filepath.Join(deep, "c"), group); err == nil || !strings.Contains(err.Error(), "it can't pass "+filepath.Join(dir, "root")) {
		t.Errorf("behind a closed directory: %v, %v", l, err)
	}
}

// The host reads the user and all groups of a peer from the kernel.
func TestIdentify(t *testing.T) {
	path := filepath.Join(shortDir(t), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	who, err := unixsock.PeerOf(conn)
	if err != nil || who.PID != os.Getpid() || who.UID != os.Getuid() || who.GID != os.Getgid() {
		t.Errorf("got %+v, %v", who, err)
	}
	groups, err := os.Getgroups()
	if err != nil || len(groups) != len(who.Groups) {
		t.Errorf("Groups: %v, got %v, %v", groups, who.Groups, err)
	}
}
