package controller

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/shell"
)

// Variables of the environment that make the test binary a client: what it does with its
// connections, how many it makes, and to which address.
const (
	strangersWay     = "DORMOUSE_TEST_STRANGER"
	strangersCount   = "DORMOUSE_TEST_COUNT"
	strangersAddress = "DORMOUSE_TEST_ADDRESS"
)

// strangerUID is a user that machines do not have.
const strangerUID = 54321

// asUser returns a process of that user that does something with its connections to the
// host, once for each way of many.
func (h *host) asUser(t *testing.T, uid int, way string, count int) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(context.WithoutCancel(t.Context()), "/proc/self/exe") // whatever directory it lies in
	cmd.Env = []string{strangersWay + "=" + way, strangersCount + "=" + strconv.Itoa(count), strangersAddress + "=tcp " + h.server.Listener.Addr().String()}
	cmd.Dir, cmd.Stderr = "/", os.Stderr
	if uid != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	return cmd
}

// actAsStranger makes many connections, one after the other, and does with each what that
// way means. It prints the last answer, if it reads any. The connections that are held open
// are closed when the standard input ends.
func actAsStranger(way string) {
	count, err := strconv.Atoi(os.Getenv(strangersCount))
	answer := []byte{}
	network, address, _ := strings.Cut(os.Getenv(strangersAddress), " ")
	var held []net.Conn
	for i := 0; i < count && err == nil; i++ {
		var conn net.Conn
		if conn, err = net.Dial(network, address); err != nil {
			break
		}
		request, holds := requestToHold[way]
		if !holds {
			answer, err = deactivateAndEnd(conn, way)
			continue
		}
		held = append(held, conn)
		_, _ = io.WriteString(conn, request) // the host may have closed it
		if strings.HasPrefix(request, "GET") {
			line, _ := bufio.NewReader(conn).ReadString('\n')
			answer = []byte(line)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, _ = fmt.Fprintf(os.Stdout, "%s\n", answer)
	if held != nil {
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
}

// requestToHold is what is sent on a connection that is then held open: nothing, part of a
// header, a request without its body, whole requests.
var requestToHold = map[string]string{
	"idle":        "",
	"slow header": "POST /jsonrpc HTTP/1.1\r\nHost: loc",
	"slow body":   "POST /jsonrpc HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{",
	"ask":         "GET /Service/Controller HTTP/1.1\r\nHost: localhost\r\n\r\n",
	"websocket":   upgrade("Host: localhost\r\n"),
}

// deactivateAndEnd sends the host a command and ends the connection in that way.
func deactivateAndEnd(raw net.Conn, way string) (answer []byte, err error) {
	conn := raw.(*net.TCPConn) //nolint:errcheck // the network is TCP
	defer conn.Close()
	if way == "reset" {
		_ = conn.SetLinger(0)
	}
	body := call("Controller.1.deactivate", `{"callsign":"Plain"}`)
	_, err = fmt.Fprintf(conn, "POST /jsonrpc HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	switch {
	case err != nil || way == "close" || way == "reset":
		return nil, err
	case way == "inherit": // another process has the connection when this one ends
		file, err := conn.File()
		if err != nil {
			return nil, err
		}
		defer file.Close()
		heir := exec.Command("/bin/cat")
		heir.Stdin = file
		return nil, heir.Start()
	}
	if err := conn.CloseWrite(); err != nil {
		return nil, err
	}
	return io.ReadAll(conn)
}

// What another user's client sends is not carried out, however soon and in which way the
// client ends its connection.
func TestOtherUsersCannotDeactivate(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	h := newHost(t, setup{})
	plain, _ := h.supervisor.Shell("Plain")
	for way, count := range map[string]int{"close": 1000, "reset": 1000, "half-close": 200, "inherit": 50} {
		answer, err := h.asUser(t, strangerUID, way, count).Output()
		if err != nil {
			t.Fatalf("%s: %v", way, err)
		}
		if way == "half-close" && !strings.Contains(string(answer), "needs the role operate, user 54321 from 127.0.0.1:") {
			t.Errorf("the client was told %s", answer)
		}
		eventually(t, func() bool { return len(h.connections.records(0)) == 0 })
		if plain.State() != shell.Activated {
			t.Fatalf("%s: the instance is %s", way, plain.State())
		}
	}
	if answer, err := h.asUser(t, 0, "half-close", 1).Output(); err != nil || !strings.Contains(string(answer), `"result":null`) {
		t.Fatalf("root was told %s, %v", answer, err)
	}
	if plain.State() != shell.Deactivated {
		t.Errorf("after root's command the instance is %s", plain.State())
	}
	lines, _ := h.log.read()
	if n := strings.Count(lines, "a client is unknown"); n == 0 || n > 20 {
		t.Errorf("%d lines in the log say that a client is unknown", n)
	}
}

// hold starts a process of that user that makes connections and holds them until the test
// ends. It returns once they are made.
func (h *host) hold(t *testing.T, uid int, way string, count int) {
	t.Helper()
	cmd := h.asUser(t, uid, way, count)
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	if _, err := bufio.NewReader(stdout).ReadString('\n'); err != nil {
		t.Fatalf("%s of user %d: %v", way, uid, err)
	}
}

// expectAnswer fails unless a process of that user gets the beginning of an answer.
func (h *host) expectAnswer(t *testing.T, uid int, network, address, way, want string) {
	t.Helper()
	cmd := h.asUser(t, uid, way, 1)
	cmd.Env = append(cmd.Env, strangersAddress+"="+network+" "+address)
	if answer, err := cmd.Output(); err != nil || !strings.HasPrefix(string(answer), want) {
		t.Errorf("user %d over %s, %s: %q, %v", uid, network, way, answer, err)
	}
}

// Whatever a user's clients hold, others are served.
func TestStrangersHoldConnections(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	const answered, upgraded = "HTTP/1.1 200 OK", "HTTP/1.1 101 "
	h := newHost(t, setup{limits: func(l *limits) { l.headerTime = time.Minute }})
	address := h.server.Listener.Addr().String()
	for _, way := range []string{"idle", "slow header", "websocket"} {
		h.hold(t, strangerUID, way, 2000)
		for _, uid := range []int{0, strangerUID + 1, strangerUID} {
			h.expectAnswer(t, uid, "tcp", address, "ask", answered)
		}
	}
	if n, limit := h.tcp.websockets.Count(), h.limits.tcp.websockets.Share; n != limit {
		t.Errorf("one user has %d websockets, it may have %d", n, limit)
	}
	h.expectAnswer(t, 0, "tcp", address, "websocket", upgraded)
	h.expectAnswer(t, strangerUID+1, "tcp", address, "websocket", upgraded)
	h.expectAnswer(t, strangerUID, "tcp", address, "websocket", "HTTP/1.1 503 ")
	h.waitForLog(t, fmt.Sprintf("user 54321 has all %d that one peer may have", h.limits.tcp.websockets.Share))
}

// While users hold every place with requests, root and the control socket are served.
func TestStrangersHoldEveryPlace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	h := newHost(t, setup{limits: func(l *limits) { l.bodyTime = time.Minute }})
	path := h.serveControlSocket(t)
	for uid := range 2 {
		h.hold(t, strangerUID+uid, "slow body", 300)
	}
	eventually(t, func() bool { return h.tcp.connections.Count() == h.limits.tcp.connections.All })
	address := h.server.Listener.Addr().String()
	h.expectAnswer(t, 0, "tcp", address, "ask", "HTTP/1.1 200 OK")
	h.expectAnswer(t, 0, "unix", path, "ask", "HTTP/1.1 200 OK")
	h.expectAnswer(t, strangerUID+2, "unix", path, "ask", "HTTP/1.1 200 OK")
	h.expectAnswer(t, strangerUID, "unix", path, "ask", "HTTP/1.1 200 OK")
	h.expectAnswer(t, strangerUID+2, "tcp", address, "ask", "\n") // refused
}

// serveControlSocket serves a unix socket that every user can connect to, and returns its
// path.
func (h *host) serveControlSocket(t *testing.T) (path string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "dc") //nolint:usetesting // the name of t.TempDir may be too long for a socket in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path = filepath.Join(dir, "control")
	control, err := net.Listen("unix", path)
	if err == nil {
		err = errors.Join(os.Chmod(dir, 0o711), os.Chmod(path, 0o666))
	}
	if err != nil {
		t.Fatal(err)
	}
	server := h.NewServer(configs.Listener{})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(control)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-served
	})
	return path
}

// Any Host will do on a unix socket, unless a page sent the request by way of a proxy.
func TestHostHeaderOnTheControlSocket(t *testing.T) {
	h := newHost(t, setup{})
	path := h.serveControlSocket(t)
	for headers, want := range map[string]int{
		"Host: localhost\r\n": 200,
		"Host: anything\r\n":  200,
		"Host:\r\n":           200,
		"Host: localhost\r\nOrigin: http://localhost\r\n":       200,
		"Host: localhost\r\nOrigin: http://evil.example\r\n":    403,
		"Host: evil.example\r\nOrigin: http://evil.example\r\n": 403,
		"Host: evil.example\r\nSec-Fetch-Site: same-origin\r\n": 403,
		"Host: 0.0.0.0\r\nOrigin: 0.0.0.0\r\n":                  200,
	} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "GET /Service/Controller HTTP/1.1\r\n"+headers+"\r\n"); err != nil {
			t.Fatal(err)
		}
		if a := readAnswer(t, conn, bufio.NewReader(conn)); a.status != want {
			t.Errorf("%q: got %d %.100s, want %d", headers, a.status, a.body, want)
		}
		_ = conn.Close()
	}
}
