package shell_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// adder is a type whose method add takes two numbers.
var adder = shell.Profile{Provides: []shell.Type{{Name: "adder", Version: "1.0.0", Methods: []shell.TypeMethod{
	{Name: "add", Params: json.RawMessage(`{"type":"object","properties":{"a":{"type":"number"},"b":{"type":"number"}},"required":["a","b"]}`)},
	{Name: "anything"},
}}}}

// acceptingConn answers every call.
type acceptingConn struct{ grpc.ClientConnInterface }

func (acceptingConn) Invoke(context.Context, string, any, any, ...grpc.CallOption) error { return nil }

// TestCallsMustFitTheContract has calls by both ways checked against the schemas of the plugin's
// types, and a refused call not wake the plugin.
func TestCallsMustFitTheContract(t *testing.T) {
	run(t, setup{config: func(p *configs.Plugin) { p.OnCall = configs.OnCallWake }}, func(r *rig) {
		r.fake.Info.Profile, r.fake.Connection = adder, acceptingConn{}
		r.activate()
		dispatcher := shellpb.NewDispatcherClient(r.Conn())
		for _, test := range []struct{ method, params, want string }{
			{"add", `{"a":1,"b":2}`, ""},
			{"add", `{"a":1,"b":"x"}`, "/b does not fit"},
			{"add", `{"a":1}`, "/b is missing"},
			{"add", ``, "the whole value does not fit"},
			{"anything", `"x"`, ""},
			{"unlisted", `"x"`, ""},
		} {
			_, byJSON := r.Invoke(r.Context(), shell.Call{Method: test.method, Params: json.RawMessage(test.params)})
			_, byGRPC := dispatcher.Invoke(r.Context(), &shellpb.InvokeRequest{Method: test.method, Params: []byte(test.params)})
			for _, err := range []error{byJSON, byGRPC} {
				if test.want == "" && err != nil || test.want != "" && (!errors.Is(err, shell.ErrInvalidParams) || !strings.Contains(err.Error(), test.want)) {
					r.Errorf("%s %s: got %v, want %q", test.method, test.params, err, test.want)
				}
			}
		}
		if _, err := dispatcher.Invoke(r.Context(), &shellpb.InvokeRequest{Method: "add", Callsign: "Child"}); err != nil {
			r.Errorf("about a virtual plugin: %v", err)
		}
		if _, err := dispatcher.Exists(r.Context(), &shellpb.ExistsRequest{Method: "add"}); err != nil {
			r.Errorf("Exists: %v", err)
		}
		r.hibernateNow()
		if _, err := r.Invoke(r.Context(), shell.Call{Method: "add"}); !errors.Is(err, shell.ErrInvalidParams) || r.State() != shell.Hibernated {
			r.Errorf("asleep: %v, and it is %s", err, r.State())
		}
		if _, err := r.Invoke(r.Context(), shell.Call{Method: "add", Params: json.RawMessage(`{"a":1,"b":2}`)}); err != nil || r.State() != shell.Activated {
			r.Errorf("a call that fits: %v, and it is %s", err, r.State())
		}
	})
}

// TestContractOfAPluginThatStarts has a call, which waits for a plugin that nothing is known of,
// checked when the plugin has started.
func TestContractOfAPluginThatStarts(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.fake.Info.Profile = adder
		r.ExpectStart()
		waiting := background(func() error {
			_, err := r.Invoke(r.Context(), shell.Call{Method: "add"})
			return err
		})
		r.activate()
		if err := <-waiting; !errors.Is(err, shell.ErrInvalidParams) {
			r.Errorf("got %v", err)
		}
	})
}
