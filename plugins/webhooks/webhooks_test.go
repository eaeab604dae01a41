package webhooks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/internal/outbox"
	"dormouse/internal/outbox/targets"
	"dormouse/internal/store"
	"dormouse/plugins/access"
	"dormouse/plugins/webhooks/webhookspb"
	"dormouse/shell"
)

// rig is a Webhooks on a store of its own, with a target that redirects until it is mended.
type rig struct {
	*testing.T
	*Webhooks
	backend *backend
	path    string
	close   func()

	target *httptest.Server
	mended atomic.Bool
	got    chan string // the paths of requests that were taken
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t, path: filepath.Join(t.TempDir(), "store.db"), got: make(chan string, 100)}
	r.target = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if !r.mended.Load() {
			http.Redirect(w, q, "/elsewhere", http.StatusFound)
			return
		}
		r.got <- q.URL.Path
	}))
	t.Cleanup(r.target.Close)
	r.open()
	t.Cleanup(func() { r.close() })
	return r
}

// open opens the store and all on it.
func (r *rig) open() {
	s, err := store.Open(r.path, store.Options{})
	if err != nil {
		r.Fatal(err)
	}
	configured, err := targets.ParseRule("10.1.2.3:80")
	if err != nil {
		r.Fatal(err)
	}
	policy := targets.New(targets.Options{})
	box, err := outbox.Open(s, outbox.Options{Targets: policy})
	if err != nil {
		r.Fatal(err)
	}
	r.Webhooks, err = New(Options{Outbox: box, Targets: policy, Configured: []targets.Rule{configured}, Store: s, Log: zerolog.Nop()})
	if err != nil {
		r.Fatal(err)
	}
	r.backend = &backend{r.Webhooks}
	r.close = func() {
		_ = r.backend.Stop(context.Background())
		_ = s.Close()
	}
}

// put puts a delivery to the target in.
func (r *rig) put(line, path string) {
	r.Helper()
	err := r.Store.Update(r.Context(), func(tx *store.Tx) error {
		return r.Outbox.PutIn(tx, outbox.Delivery{Line: line, Kind: "task", Event: "status", ID: path, URL: r.target.URL + "/" + path + "?token=secret"})
	})
	if err != nil {
		r.Fatal(err)
	}
	r.Outbox.Wake()
}

// call calls a method, and returns the result or "number: text".
func (r *rig) call(method, params string) string {
	r.Helper()
	result, err := r.backend.Invoke(r.Context(), shell.Call{Method: method, Params: json.RawMessage(params)})
	if refused, ok := errors.AsType[*shell.PluginError](err); ok {
		return fmt.Sprintf("%d: %s", refused.Code, refused.Message)
	}
	if err != nil {
		return err.Error()
	}
	return string(result)
}

// expect compares a part of what a method returns.
func (r *rig) expect(method, params, want string) {
	r.Helper()
	if got := r.call(method, params); !strings.Contains(got, want) {
		r.Errorf("%s %s\ngot  %s\nwant %s", method, params, got, want)
	}
}

// givenUp waits until that many deliveries are given up.
func (r *rig) givenUp(n int64) {
	r.Helper()
	for r.Context().Err() == nil {
		s, err := r.Outbox.Stats(r.Context())
		if err != nil {
			r.Fatal(err)
		}
		if s.GivenUp == n {
			return
		}
	}
}

// An operator sees what a target did not take, has it sent again, and throws it away.
func TestGivenUp(t *testing.T) {
	r := newRig(t)
	r.expect("list", ``, `[]`)
	r.expect("allow", `{"targets":["127.0.0.1"]}`, `"configured":["10.1.2.3:80"],"allowed":["127.0.0.1"]`)
	if err := r.backend.Initialize(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.put("a", "1")
	r.put("b", "2")
	r.put("c", "3")
	r.givenUp(3)
	r.expect("list", `{"limit":1}`, `"event":"status"`)
	r.expect("list", `{}`, `"reason":"answered 302 Found, which is not followed","given_up":true}`)
	if list := r.call("list", ``); strings.Contains(list, "secret") || !strings.Contains(list, r.target.URL) {
		t.Errorf("the list is %s", list)
	}
	var all []delivery
	if err := json.Unmarshal([]byte(r.call("list", `{}`)), &all); err != nil || len(all) != 3 {
		t.Fatal(all, err)
	}
	r.expect("discard", fmt.Sprintf(`{"keys":[%d]}`, all[0].Key), `{"count":1}`)
	r.expect("retry", `{"keys":[9999]}`, `22: there is no such delivery: 9999`)
	r.expect("retry", `{}`, `30: wrong parameters: name deliveries by "keys", or by "all": true all that were given up`)
	r.mended.Store(true)
	r.expect("retry", fmt.Sprintf(`{"keys":[%d]}`, all[1].Key), `{"count":1}`)
	if got := <-r.got; got != "/"+all[1].ID {
		t.Errorf("got %s", got)
	}
	r.expect("retry", `{"all":true}`, `{"count":1}`)
	if got := <-r.got; got != "/"+all[2].ID {
		t.Errorf("got %s", got)
	}
	r.expect("status", ``, `"given_up":0,"failures":{"`+strings.TrimPrefix(r.target.URL, "http://")+`":3}`)
}

// What operators allow is kept, and what the configuration allows is not theirs.
func TestAllowIsKept(t *testing.T) {
	r := newRig(t)
	r.expect("allow", `{"targets":["Hooks.Internal:80","10.0.0.0/8"]}`, `"allowed":["10.0.0.0/8","hooks.internal:80"]`)
	r.expect("allow", `{"targets":["http://x"]}`, `30: wrong parameters: "http://x" is not a host name`)
	r.expect("allow", `{}`, `30: wrong parameters: name what webhooks may reach in "targets"`)
	r.expect("disallow", `{"targets":["10.1.2.3:80"]}`, `30: wrong parameters: 10.1.2.3:80 was not added at run time`)
	r.close()
	r.open()
	if err := r.Outbox.CheckTarget("http://10.200.0.1/"); err != nil {
		t.Error(err)
	}
	r.expect("disallow", `{"targets":["10.0.0.0/8"]}`, `"allowed":["hooks.internal:80"]`)
	if err := r.Outbox.CheckTarget("http://10.200.0.1/"); !errors.Is(err, targets.ErrRefused) {
		t.Errorf("got %v", err)
	}
	if err := r.Outbox.CheckTarget("http://10.1.2.3/"); err != nil {
		t.Error(err)
	}
	if !r.SetConfigured(nil) || r.SetConfigured(nil) {
		t.Error("a reload does not see what differs")
	}
	if err := r.Outbox.CheckTarget("http://10.1.2.3/"); !errors.Is(err, targets.ErrRefused) {
		t.Errorf("got %v", err)
	}
}

// The gRPC methods do what the methods of the same name do; a plugin may only read.
func TestService(t *testing.T) {
	r := newRig(t)
	r.expect("allow", `{"targets":["127.0.0.1"]}`, ``)
	if err := r.backend.Initialize(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.put("a", "1")
	r.givenUp(1)
	s := r.Service()
	list, err := s.List(t.Context(), &webhookspb.ListRequest{})
	if err != nil || len(list.GetDeliveries()) != 1 {
		t.Fatal(list, err)
	}
	d := list.GetDeliveries()[0]
	if d.GetId() != "1" || !d.GetGivenUp() || d.GetTarget() != r.target.URL+"/1" || d.GetMade() == nil || d.GetNext() != nil {
		t.Errorf("got %v", d)
	}
	if st, err := s.GetStatus(t.Context(), &webhookspb.StatusRequest{}); err != nil || st.GetGivenUp() != 1 || len(st.GetFailures()) != 1 {
		t.Errorf("got %v, %v", st, err)
	}
	keys := &webhookspb.KeysRequest{Keys: []int64{d.GetKey()}}
	plugin := shell.WithCaller(t.Context(), "P")
	if _, err := s.List(plugin, &webhookspb.ListRequest{}); err != nil {
		t.Error(err)
	}
	for name, call := range map[string]func() error{
		"retry":   func() error { _, err := s.Retry(plugin, keys); return err },
		"discard": func() error { _, err := s.Discard(plugin, keys); return err },
		"allow": func() error {
			_, err := s.Allow(plugin, &webhookspb.TargetsRequest{Targets: []string{":80"}})
			return err
		},
	} {
		if err := call(); status.Code(err) != codes.PermissionDenied {
			t.Errorf("%s by a plugin: %v", name, err)
		}
	}
	if n, err := s.Discard(t.Context(), keys); err != nil || n.GetCount() != 1 {
		t.Errorf("got %v, %v", n, err)
	}
	if _, err := s.Retry(t.Context(), keys); status.Code(err) != codes.NotFound {
		t.Errorf("got %v", err)
	}
	if st, err := s.Allow(t.Context(), &webhookspb.TargetsRequest{Targets: []string{":80"}}); err != nil || len(st.GetAllowed()) != 2 {
		t.Errorf("got %v, %v", st, err)
	}
	if _, err := s.Disallow(t.Context(), &webhookspb.TargetsRequest{Targets: []string{":81"}}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v", err)
	}
}

// Each method needs its role: what others set up is an operator's, where webhooks may go an
// administrator's.
func TestRoles(t *testing.T) {
	want := map[string]access.Role{
		"list": access.Read, "status": access.Read, "retry": access.Operate, "discard": access.Operate,
		"allow": access.Admin, "disallow": access.Admin, "nothing": access.Read,
	}
	for name, role := range want {
		if got, about := NeededAccess(Callsign, shell.Call{Method: name}); got != role || about.Method != name {
			t.Errorf("%s needs %v", name, got)
		}
	}
	if len(want) != len(methods)+1 {
		t.Error("a method has no row here")
	}
	for _, m := range webhookspb.Webhooks_ServiceDesc.Methods {
		name := strings.TrimPrefix(strings.ToLower(m.MethodName), "get")
		if got, about := ServiceAccess(t.Context(), "/dormouse.webhooks.v1.Webhooks/"+m.MethodName, nil); got != want[name] || about.Method != name {
			t.Errorf("%s needs %v of %v", m.MethodName, got, about)
		}
	}
}

// samples are metrics as they are written.
type samples struct{ strings.Builder }

func (s *samples) BeginMetric(name, _, _ string) { s.WriteString(name + "\n") }
func (s *samples) WriteSample(value int64, labels ...string) {
	_, _ = fmt.Fprintln(s, value, labels)
}

func TestMetrics(t *testing.T) {
	r := newRig(t)
	r.put("a", "1")
	var got samples
	r.WriteMetrics(&got)
	const want = "dormouse_outbox_deliveries\n1 []\ndormouse_outbox_oldest_seconds\n0 []\ndormouse_outbox_given_up\n0 []\ndormouse_outbox_failures_total\n"
	if got.String() != want {
		t.Errorf("got %s", got.String())
	}
}
