package controller

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

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
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe") // whatever directory it lies in
	cmd.Env = []string{strangersWay + "=" + way, strangersCount + "=" + strconv.Itoa(count), strangersAddress + "=" + h.server.Listener.Addr().String()}
	cmd.Dir, cmd.Stderr = "/", os.Stderr
	if uid != os.Geteuid() {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
	}
	return cmd
}

// actAsStranger sends many commands, each over a connection of its own that ends in that
// way. It prints the last answer, if it reads any.
func actAsStranger(way string) {
	count, err := strconv.Atoi(os.Getenv(strangersCount))
	answer := []byte{}
	for i := 0; i < count && err == nil; i++ {
		answer, err = deactivateAndEnd(os.Getenv(strangersAddress), way)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	_, _ = os.Stdout.Write(answer)
}

// deactivateAndEnd sends the host a command and ends the connection in that way.
func deactivateAndEnd(address, way string) (answer []byte, err error) {
	raw, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
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
		heir := exec.Command("/bin/cat") //nolint:noctx // it ends with the connection
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
