package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"dormouse/internal/unixsock"
)

// strangerUID is a user that machines do not have.
const strangerUID = 54321

// dormouseAs runs the program as that user with that group, as a client.
func dormouseAs(t *testing.T, uid, gid int, variables []string, args ...string) result {
	t.Helper()
	cmd := command(t.Context(), variables, args...)
	cmd.Path, cmd.Dir = "/proc/self/exe", "/" // whatever directory it lies in
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		t.Fatal(err)
	}
	return result{stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// passableDir returns a directory that every user can pass, and that is short enough for
// sockets.
func passableDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "dc") //nolint:usetesting // the name of t.TempDir may be too long for a socket in it
	if err == nil {
		t.Cleanup(func() { _ = os.RemoveAll(dir) })
		err = os.Chmod(dir, 0o711)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// The program uses the control socket where it may, else TCP, and says which it has tried.
func TestControlSocket(t *testing.T) {
	root := passableDir(t)
	h := startHost(t, root, bothExamples)
	h.wait(t, "ready")
	control := filepath.Join(root, "run", "control")
	if info, err := os.Stat(control); err != nil || info.Mode().Perm() != 0o666 {
		t.Fatalf("the control socket has the mode %v, %v", info, err)
	}
	if socket := h.wait(t, "listening")["control"]; socket != control {
		t.Errorf("the host says that it listens on %v", socket)
	}
	own := fmt.Sprintf(`user %d"`, os.Getuid())
	for _, variable := range []string{"DORMOUSE_HOST=unix:" + control, "DORMOUSE_ROOT=" + root} {
		dormouse(t, []string{variable}, "call", "Controller.links").expect(t, exitDone, `"remote":"pid `, own)
		dormouse(t, []string{variable}, "call", "Counter.increment").expect(t, exitDone)
	}
	h.dormouse(t, "call", "Controller.links", "--host", "unix:"+control).expect(t, exitDone, own)
	h.dormouse(t, "plugin", "show", "Nope", "--host", "unix:"+control).expect(t, exitFailed, "!there is no instance")
	h.dormouse(t, "call", "Controller.links").expect(t, exitDone, `"remote":"127.0.0.1@`)

	missing := []string{"DORMOUSE_ROOT=/nowhere", "DORMOUSE_LISTEN=127.0.0.1:1"}
	dormouse(t, missing, "plugin", "list").expect(t, exitUnreachable,
		"!no host reached at unix:/nowhere/run/control: no such file or directory, nor at 127.0.0.1:1: connection refused; start one")
	h.dormouse(t, "plugin", "list", "--host", "unix:").expect(t, exitUsage, "!is not an address such as 127.0.0.1:9998")
	h.end(t)
	dormouse(t, nil, "plugin", "list", "--host", "unix:"+control).expect(t, exitUnreachable, "!no such file or directory; start one")
}

// Members of the group can pass to the control socket, other users use TCP; both have the
// role of their user.
func TestControlSocketOfOtherUsers(t *testing.T) {
	group, err := user.LookupGroupId("1") // daemon
	if err != nil || os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	root := passableDir(t)
	h := startHost(t, root, "[host]\ncommunicator-group = \""+group.Name+"\"\n"+bothExamples)
	h.wait(t, "ready")
	variables := []string{"DORMOUSE_ROOT=" + root, "DORMOUSE_LISTEN=" + h.address}
	dormouseAs(t, strangerUID, 1, variables, "call", "Controller.links").expect(t, exitDone, `user 54321"`)
	dormouseAs(t, strangerUID, 1, variables, "plugin", "suspend", "Counter").expect(t, exitDone)
	dormouseAs(t, strangerUID, strangerUID, variables, "plugin", "list").expect(t, exitDone, "Counter")
	dormouseAs(t, strangerUID, strangerUID, variables, "plugin", "resume", "Counter").expect(t, exitFailed, "!needs the role operate")
	dormouseAs(t, strangerUID, strangerUID, []string{"DORMOUSE_ROOT=" + root, "DORMOUSE_LISTEN=127.0.0.1:1"}, "plugin", "list").
		expect(t, exitUnreachable, "!"+root+"/run/control: permission denied, nor at 127.0.0.1:1: connection refused")
}

// Without a communicator-group, the members of the group dormouse can pass if there is one,
// and operate.
func TestControlSocketOfTheDefaultGroup(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	const gid = 54400
	root, groups := passableDir(t), filepath.Join(t.TempDir(), "group")
	if err := os.WriteFile(groups, []byte("root:x:0:\ndormouse:x:54400:\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := hostCommand(t, root, bothExamples)
	cmd.Args = append([]string{"unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/group && exec "$@"`, groups}, cmd.Args...)
	var err error
	if cmd.Path, err = exec.LookPath("unshare"); err != nil {
		t.Fatal(err)
	}
	h := startCommand(t, root, cmd)
	h.wait(t, "ready")
	socket := []string{"DORMOUSE_HOST=unix:" + filepath.Join(root, "run", "control")}
	dormouseAs(t, strangerUID, gid, socket, "plugin", "suspend", "Counter").expect(t, exitDone)
	dormouseAs(t, strangerUID, strangerUID, socket, "plugin", "list").expect(t, exitUnreachable, "!permission denied")
}

// A host does not start where another program has its control socket.
func TestControlSocketInUse(t *testing.T) {
	root := passableDir(t)
	control := filepath.Join(root, "run", "control")
	if err := os.Mkdir(filepath.Dir(control), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := unixsock.ListenReplacingStale(control)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, err := hostCommand(t, root, "").CombinedOutput()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitFailed {
		t.Errorf("got %v", err)
	}
	result{err: string(out), code: exitFailed}.expect(t, exitFailed, "!cannot listen on "+control+": another program does; end it; or set control to another path")
}

// systemd tells the control socket from the others by its name; TCP is there besides.
func TestControlSocketHandedOver(t *testing.T) {
	root := passableDir(t)
	path := filepath.Join(root, "handed")
	listener, err := unixsock.ListenReplacingStale(path)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	socket, err := listener.File()
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	m := newManager(t)
	h := m.start(root, []named{{"control", socket}})
	m.expect("READY=1")
	h.dormouse(t, "call", "Controller.links", "--host", "unix:"+path).expect(t, exitDone, `"remote":"pid `)
	h.dormouse(t, "plugin", "list").expect(t, exitDone, "Counter")
	if code := h.end(t); code != exitDone {
		t.Errorf("the host ended with code %d; its log is:\n%s", code, h.log)
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("systemd's socket is gone: %v", err)
	}
}

// holdConnections makes the test binary a client that holds connections to that address.
const holdConnections = "DORMOUSE_TEST_HOLD"

// holdConnectionsUntilEOF makes 2,000 connections that send nothing and 2,000 websockets,
// prints a line, and holds what the host has left open until the standard input ends.
func holdConnectionsUntilEOF(address string) {
	var held []net.Conn
	for i := range 4000 {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		if i%2 == 0 {
			_, _ = io.WriteString(conn, "GET /jsonrpc HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
				"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
			_, _ = conn.Read(make([]byte, 1000)) // the host may have refused it
		}
		held = append(held, conn)
	}
	fmt.Println("holding", len(held))
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// While a user's clients hold all the connections that they can get, root and other users
// get answers, by the program and by plain HTTP.
func TestAnswersWhileConnectionsAreHeld(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	root := passableDir(t)
	h := startHost(t, root, bothExamples)
	h.wait(t, "ready")
	holder := exec.CommandContext(context.WithoutCancel(t.Context()), "/proc/self/exe")
	holder.Env, holder.Dir = append(os.Environ(), holdConnections+"="+h.address), "/"
	holder.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: strangerUID, Gid: strangerUID}}
	stdin, err := holder.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := holder.StdoutPipe()
	if err == nil {
		err = holder.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = stdin.Close()
		if err := holder.Wait(); err != nil {
			t.Error(err)
		}
	}()
	if line, err := bufio.NewReader(stdout).ReadString('\n'); err != nil || !strings.HasPrefix(line, "holding") {
		t.Fatalf("%s, %v", line, err)
	}
	h.dormouse(t, "plugin", "suspend", "Counter").expect(t, exitDone)
	dormouse(t, []string{"DORMOUSE_ROOT=" + root}, "plugin", "resume", "Counter").expect(t, exitDone)
	dormouseAs(t, strangerUID+1, strangerUID+1, []string{"DORMOUSE_LISTEN=" + h.address}, "plugin", "list").expect(t, exitDone, "Counter")
	response, err := http.Get("http://" + h.address + "/Service/Controller")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err := io.ReadAll(response.Body); err != nil || !strings.Contains(string(text), "Counter") {
		t.Errorf("over plain HTTP: %.100s, %v", text, err)
	}
	h.wait(t, "refused a websocket")
}
