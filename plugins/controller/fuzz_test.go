package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"testing"

	"dormouse/configs"
	"dormouse/internal/jsonrpc"
	"dormouse/plugins/access"
	"dormouse/plugins/controller/dialect"
)

// Whatever comes in, what goes out is JSON that a client can read, in both
// dialects, and nothing panics.
func FuzzAnswer(f *testing.F) {
	for _, row := range append(controllerMethods(), commonMethods()...) {
		f.Add([]byte(call("Controller.1."+row.name, "")))
		f.Add([]byte(call(row.name+"@Auto", `{"callsign":"P","newcallsign":"Q","event":"e","id":"i","path":"P/x","command":"Resume","ttl":1,"timeout":"1"}`)))
	}
	for _, seed := range []string{
		`[{"id":1,"method":"Plain.echo"},[],{"method":"x"}]`, `{"id":1,"id":2,"method":"Plain.echo"}`, `{"ID":1,"METHOD":"Plain.echo"}`,
		`{"id":-0,"method":"Plain.1.echo@a@b"}`, `{"id":1e2,"method":""}`, "\xff", `{"method":"Plain.fail"}`, `{"id":"\ud800","method":"rpc.discover"}`,
	} {
		f.Add([]byte(seed))
	}
	h := newHost(f, setup{
		host:    configs.Host{Root: f.TempDir()},
		options: Options{Reboot: func(context.Context) error { return nil }},
	})
	f.Fuzz(func(t *testing.T, message []byte) {
		if bytes.Contains(message, []byte("wait")) {
			t.Skip("the plugin of the test would really wait")
		}
		for _, d := range []dialect.Dialect{dialect.R4{}, dialect.R5{}} {
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // what waits gives up, what changes instances still runs
			r := h.answerMessage(ctx, caller{client: access.HostItself(), dialect: d}, message)
			r.release()
			if r.body == nil {
				continue
			}
			if !jsonrpc.IsJSONInUTF8(r.body) {
				t.Fatalf("answered %q", r.body)
			}
			var one struct {
				Version string `json:"jsonrpc"`
				Error   *struct {
					Code    int
					Message *string
				}
			}
			if json.Unmarshal(r.body, &one) == nil && (one.Version != "2.0" || one.Error != nil && (one.Error.Code == 0 || one.Error.Message == nil)) {
				t.Fatalf("answered %s", r.body)
			}
		}
	})
}
