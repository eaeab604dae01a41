package native

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/hibernate/hibernatetest"
)

// A client in another language, made from nothing but the contracts.
func TestNode(t *testing.T) {
	h := startHost(t)
	hibernatetest.RequireEngine(t, engine)
	needNode(t)
	common := []string{
		"state CONTROL_SUSPENDED STATE_HIBERNATING", "state CONTROL_SUSPENDED STATE_HIBERNATED",
		"state CONTROL_SUSPENDED STATE_WAKING", "state CONTROL_SUSPENDED STATE_ACTIVATED",
	}
	t.Run("a method of every plugin", func(t *testing.T) {
		states, rest := h.node(t, "Counter")
		if diff := cmp.Diff(append([]string{"state CONTROL_SUSPENDED STATE_ACTIVATED"}, common...), states); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		want := []string{
			`interfaces dormouse.shell.v1.Dispatcher dormouse.shell.v1.Hooks dormouse.statecontrol.v1.StateControl`,
			`answer 1`, `answer 2`, `done STATE_ACTIVATED`,
		}
		if diff := cmp.Diff(want, rest); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("a service of its own", func(t *testing.T) {
		states, rest := h.node(t, "Other", "../streams/streams.proto", "dormouse.test.streams.v1.Streams", "Echo", `{"text":"hello"}`)
		began := []string{
			"state CONTROL_NONE STATE_DEACTIVATED", "state CONTROL_NONE STATE_ACTIVATION",
			"state CONTROL_SUSPENDED STATE_ACTIVATION", "state CONTROL_SUSPENDED STATE_ACTIVATED",
		}
		if diff := cmp.Diff(append(began, common...), states); diff != "" {
			t.Errorf("states (-want +got):\n%s", diff)
		}
		want := []string{
			`interfaces dormouse.shell.v1.Dispatcher dormouse.shell.v1.Hooks dormouse.statecontrol.v1.StateControl dormouse.test.streams.v1.Streams`,
			`answer hello`, `answer hello`, `done STATE_ACTIVATED`,
		}
		if diff := cmp.Diff(want, rest); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	t.Run("what is refused", func(t *testing.T) {
		cmd := h.nodeCommand("Nobody")
		out, err := cmd.Output()
		if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.Contains(string(out), `"code":"NOT_FOUND"`) {
			t.Errorf("got %v: %s", err, out)
		}
	})
}

// needNode skips the test where the example's modules are not, which `make setup`
// fetches.
func needNode(t *testing.T) {
	t.Helper()
	probe := exec.CommandContext(t.Context(), "node", "-e", "require('@grpc/grpc-js'); require('@grpc/proto-loader')")
	probe.Dir = "../../plugins/examples/native-node"
	if out, err := probe.CombinedOutput(); err != nil {
		hibernatetest.SkipOrFail(t, fmt.Errorf("native-node lacks Node or its modules, which `make setup` installs: %w\n%s", err, out))
	}
}

func (h *rig) nodeCommand(args ...string) *exec.Cmd {
	return exec.CommandContext(h.limited(), "node", append([]string{"../../plugins/examples/native-node/main.js", h.socket()}, args...)...)
}

// node runs the example and returns the states that it saw and all else that it
// said.
func (h *rig) node(t *testing.T, args ...string) (states, rest []string) {
	t.Helper()
	cmd := h.nodeCommand(args...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s%s", err, out, complaints.String())
	}
	for line := range strings.Lines(string(out)) {
		var said struct {
			What, State, Control, Text string
			Services                   []string
			Value                      int
		}
		if err := json.Unmarshal([]byte(line), &said); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		words := []string{said.What}
		switch {
		case said.What == "state":
			states = append(states, strings.Join([]string{said.What, said.Control, said.State}, " "))
			continue
		case said.What == "interfaces":
			words = append(words, said.Services...)
		case said.Text != "":
			words = append(words, said.Text)
		case said.What == "answer":
			words = append(words, jsonNumber(said.Value))
		default:
			words = append(words, said.State)
		}
		rest = append(rest, strings.Join(words, " "))
	}
	return states, rest
}

func jsonNumber(n int) string {
	text, _ := json.Marshal(n) // a number always can be
	return string(text)
}
