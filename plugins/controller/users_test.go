package controller

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
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"dormouse/configs"
	"dormouse/plugins/access"
)

// inMountNamespace is set for a test that has a mount namespace of its own.
const inMountNamespace = "DORMOUSE_TEST_MOUNTS"

// Users and groups of the machine on which the test believes to be.
const (
	townPasswd = `root:x:0:0::/:/bin/sh
reader:x:54401:54401::/:/bin/sh
caller:x:54402:54402::/:/bin/sh
operator:x:54403:54403::/:/bin/sh
visitor:x:54404:54404::/:/bin/sh
admin:x:54405:54405::/:/bin/sh
keeper:x:54406:54406::/:/bin/sh
`
	townGroup = `root:x:0:
dormouse:x:54400:operator
keepers:x:54406:
`
	operatorsGroup = 54400
)

// person is a user whose process is a client.
type person struct {
	uid    int
	groups []uint32 // of the process
	// overTCP and overUnix are the roles that the client has there: over TCP the kernel
	// does not tell the groups of a process.
	overTCP, overUnix access.Role
}

var people = map[string]person{
	"root":     {uid: 0, overTCP: access.Admin, overUnix: access.Admin},
	"reader":   {uid: 54401, overTCP: access.Read, overUnix: access.Read},
	"caller":   {uid: 54402, overTCP: access.Call, overUnix: access.Call},       // by a row of the user
	"operator": {uid: 54403, overTCP: access.Operate, overUnix: access.Operate}, // by the group file alone
	"visitor":  {uid: 54404, groups: []uint32{operatorsGroup}, overTCP: access.Read, overUnix: access.Operate},
	"admin":    {uid: 54405, overTCP: access.Admin, overUnix: access.Admin},     // by a row of the number
	"keeper":   {uid: 54406, overTCP: access.Operate, overUnix: access.Operate}, // by a row of the primary group
	"unlisted": {uid: 54407, overTCP: access.Read, overUnix: access.Read},       // in no database
}

// TestRealUsers has every method called by processes of real users, over TCP and over a unix
// socket. It runs where files of its own stand for /etc/passwd and /etc/group.
func TestRealUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	if os.Getenv(inMountNamespace) == "" {
		again := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestRealUsers$", "-test.v")
		again.Env = append(os.Environ(), inMountNamespace+"=1")
		again.SysProcAttr = &syscall.SysProcAttr{Unshareflags: unix.CLONE_NEWNS}
		if said, err := again.CombinedOutput(); err != nil || !bytes.Contains(said, []byte("--- PASS: TestRealUsers")) {
			t.Fatalf("%v\n%s", err, said)
		}
		return
	}
	for path, text := range map[string]string{"/etc/passwd": townPasswd, "/etc/group": townGroup} {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil { //nolint:gosec // as the real one
			t.Fatal(err)
		}
		if err := unix.Mount(file, path, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
	}
	h := newGuardedHost(t, setup{}, configs.Access{User: "caller", Role: configs.RoleCall},
		configs.Access{User: "54405", Role: configs.RoleAdmin}, configs.Access{Group: "keepers", Role: configs.RoleOperate})
	socket := h.alsoServeUnix(t)
	for name, who := range people {
		askEverything(t, name, who, who.overTCP, "tcp "+h.server.Listener.Addr().String())
		askEverything(t, name, who, who.overUnix, "unix "+socket)
	}
}

// alsoServeUnix serves the host on a unix socket for every user, and returns its path.
func (h *host) alsoServeUnix(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "users") //nolint:usetesting // other users must pass its directories
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	for name, mode := range map[string]os.FileMode{dir: 0o711, path: 0o666} {
		if err := os.Chmod(name, mode); err != nil {
			t.Fatal(err)
		}
	}
	server := h.NewServer(configs.Listener{Dialect: configs.DialectR4})
	served := make(chan error)
	go func() { served <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-served; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return path
}

// askEverything has a process of the user call every method, and compares what it was
// answered with the role that it has.
func askEverything(t *testing.T, name string, who person, role access.Role, address string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
	cmd.Env = []string{strangersWay + "=" + postLines, strangersAddress + "=" + address}
	cmd.Dir, cmd.Stderr = "/", os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(who.uid), Gid: uint32(who.uid), Groups: who.groups}} //nolint:gosec // they are small
	var methods []string
	var questions strings.Builder
	for method := range neededRoles {
		methods = append(methods, method)
		questions.WriteString(messageFor(method) + "\n")
	}
	cmd.Stdin = strings.NewReader(questions.String())
	said, err := cmd.Output()
	if err != nil {
		t.Fatalf("%s over %s: %v", name, address, err)
	}
	answers := strings.Split(strings.TrimSpace(string(said)), "\n")
	if len(answers) != len(methods) {
		t.Fatalf("%s over %s got %d answers to %d questions: %s", name, address, len(answers), len(methods), said)
	}
	for i, method := range methods {
		needed := neededRoles[method]
		if wantRefused := role < needed || needed == access.None; strings.HasPrefix(answers[i], "403 ") != wantRefused {
			t.Errorf("%s over %s calls %s and is answered %s", name, address, method, answers[i])
		}
	}
}

// postLines is the way of a client that posts each line of its standard input.
const postLines = "post lines"

// postEachLine posts each line of the standard input to the host, and prints the status and
// the body of each answer in a line.
func postEachLine() {
	network, address, _ := strings.Cut(os.Getenv(strangersAddress), " ")
	client := http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		answer, err := client.Post("http://localhost/jsonrpc", "application/json", strings.NewReader(lines.Text())) //nolint:noctx // the test ends the process
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		body, err := io.ReadAll(answer.Body)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		_ = answer.Body.Close()
		_, _ = fmt.Fprintf(os.Stdout, "%d %s\n", answer.StatusCode, body)
	}
}
