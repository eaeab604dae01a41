package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/testing/protocmp"
	"google.golang.org/protobuf/types/known/durationpb"

	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
)

// able has every power there is.
type able struct {
	bare
	methods  Methods
	init     func(*Instance) error
	suspend  func() error
	hook     error
	woken    []Wake
	reasons  []Reason
	endError error
}

func (a *able) Initialize(ctx context.Context, in *Instance) error {
	if err := a.bare.Initialize(ctx, in); err != nil || a.init == nil {
		return err
	}
	return a.init(in)
}

func (a *able) Deinitialize(_ context.Context, why Reason) error {
	a.reasons = append(a.reasons, why)
	return a.endError
}

func (a *able) Information() Information {
	return Information{
		Name: "able", Description: "can do all", Version: Version{1, 2, 3},
		Preconditions: []string{"Time"}, Terminations: []string{"!Time"}, Controls: []string{"Network"},
	}
}

func (a *able) Methods() Methods { return a.methods }

func (a *able) Suspend(context.Context) error {
	if a.suspend == nil {
		return nil
	}
	return a.suspend()
}

func (a *able) Resume(context.Context) error { return nil }

func (a *able) BeforeCheckpoint(context.Context) error { return a.hook }

func (a *able) AfterRestore(_ context.Context, w Wake) error {
	a.woken = append(a.woken, w)
	return a.hook
}

func (a *able) Register(r grpc.ServiceRegistrar) {
	healthpb.RegisterHealthServer(r, health.NewServer())
}

func TestInformation(t *testing.T) {
	for _, test := range []struct {
		plugin Plugin
		want   *shellpb.InformationResponse
	}{
		{&able{}, &shellpb.InformationResponse{
			Name: "able", Description: "can do all", Version: &shellpb.Version{Major: 1, Minor: 2, Patch: 3},
			Services:      []string{shellpb.DispatcherService, shellpb.HooksService, statecontrol.ServiceName, "grpc.health.v1.Health"},
			Preconditions: []string{"Time"}, Terminations: []string{"!Time"}, Controls: []string{"Network"},
		}},
		{&bare{}, &shellpb.InformationResponse{
			Name: "sdk.test", Version: &shellpb.Version{},
			Services: []string{shellpb.DispatcherService, shellpb.HooksService},
		}},
	} {
		got, err := shellpb.NewPluginClient(connect(t, test.plugin)).Information(t.Context(), &shellpb.InformationRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, got, protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestInitialize(t *testing.T) {
	type config struct {
		Start int    `json:"start"`
		Name  string `json:"name"`
	}
	for _, test := range []struct{ configuration, want string }{
		{`{"start": 5}`, ""},
		{``, ""},
		{`{"start": "5"}`, "cannot initialize: start must be a whole number, not string"},
		{`{"begin": 5}`, `cannot initialize: unknown field "begin"`},
		{`[]`, "cannot initialize: the value must be an object, not array"},
	} {
		a := &able{init: func(in *Instance) error {
			c := config{Name: "default"}
			if err := in.Configuration.Decode(&c); err != nil {
				return err
			}
			if c.Name != "default" || in.Callsign != "One" || in.Persistent != "/p" || in.Volatile != "/v" {
				return fmt.Errorf("got %+v and %+v", c, in)
			}
			return nil
		}}
		plugin := shellpb.NewPluginClient(connect(t, a))
		request := &shellpb.InitializeRequest{
			Callsign: "One", Configuration: []byte(test.configuration),
			Paths: &shellpb.Paths{Persistent: "/p", Volatile: "/v"},
		}
		got, err := plugin.Initialize(t.Context(), request)
		if err != nil || got.GetError() != test.want {
			t.Errorf("configuration %s: got %q, %v, want %q", test.configuration, got.GetError(), err, test.want)
		}
		if _, err := plugin.Initialize(t.Context(), request); status.Code(err) != codes.FailedPrecondition {
			t.Errorf("a second Initialize got %v", err)
		}
		if _, err := plugin.Deinitialize(t.Context(), &shellpb.DeinitializeRequest{}); err != nil {
			t.Error(err)
		}
		if deinitialized := len(a.reasons) == 1; deinitialized != (test.want == "") {
			t.Errorf("configuration %s: Deinitialize was called with %v", test.configuration, a.reasons)
		}
	}
}

func TestDeinitialize(t *testing.T) {
	a := &able{endError: errors.New("disk full"), methods: Methods{"m": Method(func(context.Context, struct{}) (any, error) { return nil, nil })}}
	conn := start(t, a)
	plugin := shellpb.NewPluginClient(conn)
	_, err := plugin.Deinitialize(t.Context(), &shellpb.DeinitializeRequest{Reason: shellpb.Reason_REASON_CONDITIONS})
	if status.Convert(err).Message() != "disk full" {
		t.Errorf("got %v", err)
	}
	if _, err := plugin.Deinitialize(t.Context(), &shellpb.DeinitializeRequest{}); err != nil {
		t.Errorf("a second Deinitialize got %v", err)
	}
	if diff := cmp.Diff([]Reason{Conditions}, a.reasons); diff != "" {
		t.Error(diff)
	}
	_, err = shellpb.NewDispatcherClient(conn).Invoke(t.Context(), &shellpb.InvokeRequest{Method: "m"})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("a call after it got %v", err)
	}
}

func TestReasons(t *testing.T) {
	all := []Reason{
		Requested, Automatic, Failure, MemoryExceeded, Startup, Shutdown, Conditions,
		WatchdogExpired, InitializationFailed, InstantiationFailed,
	}
	if len(all) != len(shellpb.Reason_name) {
		t.Errorf("%d reasons, the contract has %d", len(all), len(shellpb.Reason_name))
	}
	for i, want := range all {
		if got := Reason(shellpb.Reason(i).Words()); got != want {
			t.Errorf("%s is %q, want %q", shellpb.Reason(i), got, want)
		}
	}
}

type add struct {
	A int  `json:"a"`
	B uint `json:"b"`
}

func (p add) Validate() error {
	if p.B > 10 {
		return errors.New("b must not exceed 10")
	}
	return nil
}

func TestInvoke(t *testing.T) {
	conn := start(t, &able{methods: Methods{
		"add":   Method(func(_ context.Context, p add) (int, error) { return p.A + int(p.B), nil }),
		"raw":   Method(func(_ context.Context, p json.RawMessage) (json.RawMessage, error) { return p, nil }),
		"index": func(_ context.Context, c Call) (any, error) { return c.Method + "@" + c.Index, nil },
		"plain": func(context.Context, Call) (any, error) { return nil, errors.New("no luck") },
		"coded": func(context.Context, Call) (any, error) {
			return nil, fmt.Errorf("cannot open: %w", &Error{Code: IllegalState, Message: "door locked", Data: []int{1}})
		},
		"late":  func(context.Context, Call) (any, error) { return nil, context.DeadlineExceeded },
		"panic": func(context.Context, Call) (any, error) { panic("out of cheese") },
		"chan":  func(context.Context, Call) (any, error) { return make(chan int), nil },
	}})
	dispatcher := shellpb.NewDispatcherClient(conn)

	for _, test := range []struct {
		method, params string
		want           string // result, or message of the error
		code           codes.Code
		number         int32
	}{
		{"add", `{"a": -1, "b": 3}`, "2", codes.OK, 0},
		{"add", `{}`, "0", codes.OK, 0},
		{"add", ``, "0", codes.OK, 0},
		{"add", `null`, "0", codes.OK, 0},
		{"add", `{"a": 1.5}`, "invalid parameters: a must be a whole number, not number 1.5", codes.InvalidArgument, 54},
		{"add", `{"b": -1}`, "invalid parameters: b must be a whole number, not negative, not number -1", codes.InvalidArgument, 54},
		{"add", `{"c": 1}`, `invalid parameters: unknown field "c"`, codes.InvalidArgument, 54},
		{"add", `{"b": 11}`, "invalid parameters: b must not exceed 10", codes.InvalidArgument, 54},
		{"add", `[1]`, "invalid parameters: the value must be an object, not array", codes.InvalidArgument, 54},
		{"add", `{"a"`, "invalid parameters: unexpected EOF", codes.InvalidArgument, 54},
		{"add", `{} {}`, "invalid parameters: there is more than one JSON value", codes.InvalidArgument, 54},
		{"raw", `[1,"<"]`, `[1,"<"]`, codes.OK, 0},
		{"raw", ``, ``, codes.OK, 0},
		{"index", ``, `"index@7"`, codes.OK, 0},
		{"plain", ``, "no luck", codes.Unknown, 1},
		{"coded", ``, "cannot open: door locked", codes.Unknown, 5},
		{"late", ``, "context deadline exceeded", codes.DeadlineExceeded, 11},
		{"panic", ``, "the plugin panicked: out of cheese", codes.Internal, 1},
		{"chan", ``, "cannot encode the result of chan: json: unsupported type: chan int", codes.Unknown, 1},
		{"none", ``, `unknown method "none"`, codes.Unimplemented, 0},
	} {
		answer, err := dispatcher.Invoke(t.Context(), &shellpb.InvokeRequest{Method: test.method, Index: "7", Params: []byte(test.params)})
		got := string(answer.GetResult())
		if err != nil {
			got = status.Convert(err).Message()
		}
		if got != test.want || status.Code(err) != test.code || shellpb.ErrorDetailOf(err).GetCode() != test.number {
			t.Errorf("%s %s: got %v %d %s", test.method, test.params, status.Code(err), shellpb.ErrorDetailOf(err).GetCode(), got)
		}
		if test.method == "coded" && string(shellpb.ErrorDetailOf(err).GetData()) != "[1]" {
			t.Errorf("got data %s", shellpb.ErrorDetailOf(err).GetData())
		}
		exists, err := dispatcher.Exists(t.Context(), &shellpb.ExistsRequest{Method: test.method})
		if err != nil || exists.GetExists() != (test.method != "none") {
			t.Errorf("%s exists: %v, %v", test.method, exists, err)
		}
	}
}

func TestInvokeLimits(t *testing.T) {
	dispatcher := shellpb.NewDispatcherClient(start(t, &able{methods: Methods{
		"repeat": Method(func(_ context.Context, n int) (string, error) { return strings.Repeat("x", n), nil }),
		"ignore": func(context.Context, Call) (any, error) { return json.RawMessage("no JSON"), nil },
	}}))
	_, err := dispatcher.Invoke(t.Context(), &shellpb.InvokeRequest{Method: "repeat", Params: []byte("4000000")})
	if err != nil {
		t.Error(err)
	}
	_, err = dispatcher.Invoke(t.Context(), &shellpb.InvokeRequest{Method: "repeat", Params: []byte("9000000")})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("a result that is too large got %v", err)
	}
	_, err = dispatcher.Invoke(t.Context(), &shellpb.InvokeRequest{Method: "ignore", Params: make([]byte, shellpb.MaxMessage)})
	if status.Code(err) != codes.ResourceExhausted {
		t.Errorf("params that are too large got %v", err)
	}
	_, err = dispatcher.Invoke(t.Context(), &shellpb.InvokeRequest{Method: "ignore"})
	if status.Convert(err).Message() != "cannot encode the result of ignore: it is not JSON" {
		t.Errorf("a result that is no JSON got %v", err)
	}
}

func TestInvokeBeforeInitialize(t *testing.T) {
	a := &able{methods: Methods{"m": func(context.Context, Call) (any, error) { return nil, nil }}}
	_, err := shellpb.NewDispatcherClient(connect(t, a)).Invoke(t.Context(), &shellpb.InvokeRequest{Method: "m"})
	if status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
}

func TestInvokeInParallel(t *testing.T) {
	const calls = 32
	var running atomic.Int32
	all := make(chan struct{})
	conn := start(t, &able{methods: Methods{"meet": func(ctx context.Context, _ Call) (any, error) {
		if running.Add(1) == calls {
			close(all)
		}
		select {
		case <-all:
			return nil, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}})
	dispatcher := shellpb.NewDispatcherClient(conn)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var wait sync.WaitGroup
	for range calls {
		wait.Go(func() {
			if _, err := dispatcher.Invoke(ctx, &shellpb.InvokeRequest{Method: "meet"}); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
}

func TestHooks(t *testing.T) {
	a := &able{}
	conn := start(t, a)
	hooks := shellpb.NewHooksClient(conn)
	if _, err := hooks.BeforeCheckpoint(t.Context(), &shellpb.BeforeCheckpointRequest{}); err != nil {
		t.Error(err)
	}
	slept := 90 * time.Second
	if _, err := hooks.AfterRestore(t.Context(), &shellpb.AfterRestoreRequest{Generation: 3, Slept: durationpb.New(slept), Warm: true}); err != nil {
		t.Error(err)
	}
	a.hook = errors.New("a recording is running")
	if _, err := hooks.BeforeCheckpoint(t.Context(), &shellpb.BeforeCheckpointRequest{}); status.Convert(err).Message() != "a recording is running" {
		t.Errorf("got %v", err)
	}
	if _, err := hooks.AfterRestore(t.Context(), &shellpb.AfterRestoreRequest{Generation: 4}); err == nil {
		t.Error("the error of AfterRestore got lost")
	}
	if want := []Wake{{3, slept, true}, {4, 0, false}}; !slices.Equal(a.woken, want) {
		t.Errorf("AfterRestore was told %v, want %v", a.woken, want)
	}

	hooks = shellpb.NewHooksClient(start(t, &bare{}))
	if _, err := hooks.BeforeCheckpoint(t.Context(), &shellpb.BeforeCheckpointRequest{}); err != nil {
		t.Errorf("a plugin without hooks got %v", err)
	}
	if _, err := hooks.AfterRestore(t.Context(), &shellpb.AfterRestoreRequest{}); err != nil {
		t.Errorf("a plugin without hooks got %v", err)
	}
}
