package communicator

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"dormouse/plugins/access"
)

// membersGroup is the communicator-group of a guardedHost.
const membersGroup = 4444

// callAll makes the test binary a client that calls every method of the host on the socket
// that it names.
const callAll = "DORMOUSE_TEST_CALL_ALL"

// callAllMethods calls every method, and prints the roles that were missing as JSON.
func callAllMethods(path string) {
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	missing := make(map[string]string)
	for service, methods := range neededRoles {
		for method := range methods {
			missing[service+"."+method] = refusedRole(callMethod(context.Background(), conn, service, method))
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(missing)
}

// TestRealUsers has every method called by processes of real users on the communicator's
// socket: root has every role, the members of the group operate.
func TestRealUsers(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can become another user")
	}
	h := newGuardedHostFor(t, identifyNative(Group{name: "tv", id: membersGroup, named: true}))
	for _, path := range []string{filepath.Dir(h.path), h.path} {
		if err := os.Chmod(path, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	for name, who := range map[string]struct {
		credential syscall.Credential
		role       access.Role
	}{
		"root":                       {syscall.Credential{}, access.Admin},
		"a member":                   {syscall.Credential{Uid: 54321, Gid: membersGroup}, access.Operate},
		"a member besides":           {syscall.Credential{Uid: 54321, Gid: 54321, Groups: []uint32{7, membersGroup}}, access.Operate},
		"a member with a row for it": {syscall.Credential{Uid: 60004, Gid: membersGroup}, access.Admin},
	} {
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe") // whatever directory it lies in
		cmd.Env = []string{callAll + "=" + h.path}
		cmd.Dir, cmd.Stderr = "/", os.Stderr
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &who.credential}
		said, err := cmd.Output()
		var missing map[string]string
		if err == nil {
			err = json.Unmarshal(said, &missing)
		}
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for service, methods := range neededRoles {
			for method, needed := range methods {
				want := ""
				if who.role < needed {
					want = needed.String()
				}
				if got, called := missing[service+"."+method]; got != want || !called {
					t.Errorf("%s calls %s of %s and lacks %q", name, method, service, got)
				}
			}
		}
	}
}
