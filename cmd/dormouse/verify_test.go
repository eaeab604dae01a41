package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dormouse/plugins/sdk/verify"

	"github.com/google/go-cmp/cmp"
)

// verify runs `plugin verify` in a temporary directory of its own, where it must
// leave nothing, and returns the steps by their results, each with the first
// letter in its place: o for ok, F for failed, - for skipped.
func runVerify(t *testing.T, args ...string) (code int, marks string, v verify.Verification) {
	t.Helper()
	dir, err := os.MkdirTemp("", "dm") //nolint:usetesting // the path of a test's own directory is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := os.Remove(dir); err != nil {
			t.Errorf("something is left: %v", err)
		}
	}()
	for i, arg := range args {
		args[i] = strings.ReplaceAll(arg, "EXAMPLES", examples)
	}
	got := dormouse(t, []string{"TMPDIR=" + dir}, append([]string{"plugin", "verify", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(got.out), &v); err != nil {
		t.Fatalf("%v in:\n%s\n%s", err, got.out, got.err)
	}
	var steps []string
	for _, s := range v.Steps {
		steps = append(steps, s.Name)
		marks += map[verify.Result]string{verify.OK: "o", verify.Failed: "F", verify.Skipped: "-"}[s.Result]
		if (s.Result == verify.Failed) != (s.Mend != "") || s.Result == verify.Failed && s.Found == "" {
			t.Errorf("%s %s: it was found %q, and is to be mended by %q", s.Name, s.Result, s.Found, s.Mend)
		}
	}
	if diff := cmp.Diff(verify.Order, steps); diff != "" {
		t.Error(diff)
	}
	if v.OK == strings.Contains(marks, "F") || v.OK != (code == 0 && got.code == 0) {
		t.Errorf("ok %v with %s and exit code %d", v.OK, marks, got.code)
	}
	return got.code, marks, v
}

func TestVerify(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		// The steps in groups: executable to initialize, methods and
		// flows, suspend to resume, deinitialize to the end.
		marks string
		// Said in the first step that failed.
		said string
		criu bool
	}{
		{name: "counter", args: []string{"--method", "increment", "--config", `{"start":4}`, "EXAMPLES/counter"}, marks: "ooooo o- ooooooo ooo", criu: true},
		{name: "one that needs its host", args: []string{"EXAMPLES/plugin"}, marks: "ooooo o- ooooooo ooo", criu: true},
		{name: "one of its site", args: []string{"--subsystem", "Other", "--subsystem", "Backend", "EXAMPLES/picky", "site"}, marks: "ooooo o- ooooooo ooo", criu: true},
		{name: "one of another site", args: []string{"EXAMPLES/picky", "site"}, marks: "ooFoo o- ooooooo ooo", said: `there is no subsystem "Backend"`, criu: true},
		{name: "in a Landlock domain", args: []string{"EXAMPLES/picky", "landlock"}, marks: "ooooo o- ooF---o ooo", said: "has the Landlock domain of thread", criu: true},
		{name: "no state control", args: []string{"EXAMPLES/echo"}, marks: "ooooo o- ------- ooo"},
		{name: "flows", args: []string{"--flow", "loud", "--message", "text", "EXAMPLES/lines"}, marks: "ooooo oo ------- ooo"},
		{name: "an unknown flow", args: []string{"EXAMPLES/lines"}, marks: "ooooo oo ------- ooo"},
		{name: "no such flow", args: []string{"--flow", "quiet", "EXAMPLES/lines"}, marks: "ooooo oF ------- ooo", said: `there is no flow "quiet" here`},
		{name: "no such method", args: []string{"--method", "sing", "EXAMPLES/echo"}, marks: "ooooo F- ------- ooo", said: "whether sing exists, it answered: no"},
		{
			name: "a method that fails", args: []string{"--method", "echo", "--config", `{"start":"x"}`, "EXAMPLES/counter"},
			marks: "ooooF -- ------- --o", said: "start must be a whole number",
		},
		{name: "true", args: []string{"/bin/true"}, marks: "oF--- -- ------- --o", said: "exited with status 0"},
		{name: "sleep", args: []string{"--timeout", "200ms", "/bin/sleep", "100"}, marks: "oF--- -- ------- --o", said: "no answer within 200ms: it wrote no line on its standard output"},
		{name: "missing", args: []string{"./nonesuch"}, marks: "F---- -- ------- --o", said: "no such file"},
		{name: "a text", args: []string{"verify_test.go"}, marks: "F---- -- ------- --o", said: "executable file not found"},
		{name: "exits", args: []string{"EXAMPLES/rogue", "exit"}, marks: "oF--- -- ------- --o", said: "cannot find my data"},
		{name: "bad handshake", args: []string{"EXAMPLES/rogue", "say", "2|1|unix|DIR/x|grpc"}, marks: "oF--- -- ------- --o", said: "it speaks version"},
		{name: "wrong place", args: []string{"EXAMPLES/rogue", "say", "1|1|unix|/x|grpc"}, marks: "oF--- -- ------- --o", said: "PLUGIN_UNIX_SOCKET_DIR"},
		{name: "mute", args: []string{"--timeout", "1500ms", "EXAMPLES/rogue", "mute"}, marks: "oF--- -- ------- --o", said: "cannot connect to the plugin: no answer within 1.5s"},
		{name: "no information", args: []string{"--timeout", "1500ms", "EXAMPLES/rogue", "no-information"}, marks: "oF--- -- ------- --o", said: "no answer within 1.5s"},
		{name: "bare", args: []string{"EXAMPLES/rogue"}, marks: "oooFo F- ------- ooo", said: "Health"},
		{name: "refuses", args: []string{"EXAMPLES/rogue", "refuse"}, marks: "oooFF -- ------- --o", said: "Health"},
		{name: "panics", args: []string{"EXAMPLES/rogue", "panic-in-initialize"}, marks: "oooFF -- ------- --o", said: "Health"},
		{name: "stubborn", args: []string{"--timeout", "1s", "EXAMPLES/rogue", "stubborn"}, marks: "oooFo F- ------- oFo", said: "Health"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.criu {
				requireCRIU(t)
			}
			_, marks, v := runVerify(t, test.args...)
			if want := strings.ReplaceAll(test.marks, " ", ""); marks != want {
				t.Errorf("got  %s,\nwant %s\n%+v", marks, want, v.Steps)
			}
			for _, s := range v.Steps {
				if s.Result == verify.Failed {
					if !strings.Contains(s.Found, test.said) {
						t.Errorf("%s failed: %s; want %q", s.Name, s.Found, test.said)
					}
					break
				}
			}
		})
	}
}

func TestVerifyForPeople(t *testing.T) {
	echo := filepath.Join(examples, "echo")
	dormouse(t, nil, "plugin", "verify", echo).expect(t, exitDone,
		"executable     ok", echo+" is a plugin. Whether it can be hibernated was not tried.")
	dormouse(t, nil, "plugin", "verify", "/bin/true").expect(t, exitFailed,
		"handshake      failed", "docs/plugins.md, Handshake", "One step failed: /bin/true does not hold the contract")
	dormouse(t, nil, "plugin", "verify", "--config", "[]", "/bin/true").expect(t, exitUsage, "!--config must be a JSON object")
	dormouse(t, nil, "plugin", "verify", "--subsystem", "Network", "/bin/true").expect(t, exitUsage, `!"Network" exists already`)
	dormouse(t, nil, "plugin", "verify", "--params", "[]", "/bin/true").expect(t, exitUsage, "!without --method")
	dormouse(t, nil, "plugin", "verify", "--message", "text", "/bin/true").expect(t, exitUsage, "!without --flow")
}

func TestVerifyKeeps(t *testing.T) {
	got := dormouse(t, nil, "plugin", "verify", "--keep", filepath.Join(examples, "echo"))
	_, dir, ok := strings.Cut(strings.TrimSuffix(got.err, ".\n"), "The host's directory is ")
	if !ok {
		t.Fatalf("it does not say where: %s", got.err)
	}
	defer os.RemoveAll(dir)
	if _, err := os.Stat(filepath.Join(dir, "images")); err != nil {
		t.Error(err)
	}
}
