package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/testing/protocmp"

	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
)

// fakeHost serves Shell on a socket and remembers what it was asked.
type fakeHost struct {
	shellpb.UnimplementedShellServer
	shellpb.UnimplementedFlowsServer
	socket string

	refuse  error         // the answer to every unary call, if not nil
	arrived chan struct{} // gets a word when Operate has begun, which then waits
	state   chan shellpb.State

	mu   sync.Mutex
	seen []question
}

// fakeDispatcher serves the calls of other plugins.
type fakeDispatcher struct {
	shellpb.UnimplementedDispatcherServer
}

// question is one call that the fake host got.
type question struct {
	Method, Callsign string
	Request          proto.Message
}

// newFakeHost serves until the test ends.
func newFakeHost(t *testing.T) *fakeHost {
	t.Helper()
	h := &fakeHost{
		socket: filepath.Join(t.TempDir(), "host"),
		state:  make(chan shellpb.State),
	}
	h.serve(t)
	return h
}

// serve listens on the socket and returns what ends that.
func (h *fakeHost) serve(t *testing.T) (stop func()) {
	t.Helper()
	listener, err := net.Listen("unix", h.socket)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(grpc.UnaryInterceptor(h.ask))
	shellpb.RegisterShellServer(s, h)
	shellpb.RegisterFlowsServer(s, h)
	shellpb.RegisterDispatcherServer(s, fakeDispatcher{})
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	stop = sync.OnceFunc(func() {
		s.Stop()
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // before it began
			t.Errorf("cannot serve: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func (h *fakeHost) ask(ctx context.Context, r any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	h.mu.Lock()
	h.seen = append(h.seen, question{filepath.Base(info.FullMethod), callsignOf(ctx), r.(proto.Message)}) //nolint:errcheck // gRPC hands nothing else over
	h.mu.Unlock()
	if h.refuse != nil {
		return nil, h.refuse
	}
	return next(ctx, r)
}

func callsignOf(ctx context.Context) string {
	return strings.Join(metadata.ValueFromIncomingContext(ctx, "dormouse-callsign"), "+")
}

func (h *fakeHost) asked() []question {
	h.mu.Lock()
	defer h.mu.Unlock()
	asked := h.seen
	h.seen = nil
	return asked
}

func (h *fakeHost) Status(ctx context.Context, _ *shellpb.StatusRequest) (*shellpb.StatusResponse, error) {
	return &shellpb.StatusResponse{
		Callsign: callsignOf(ctx), State: shellpb.State_STATE_HIBERNATED, Control: shellpb.Control_CONTROL_SUSPENDED,
		Reason: shellpb.Reason_REASON_INSTANTIATION_FAILED, Error: "no", Class: "net", Locator: "/bin/net",
		Version: &shellpb.Version{Major: 1, Minor: 2, Patch: 3}, StartMode: shellpb.StartMode_START_MODE_ACTIVATED, Resumed: true,
		Configuration: []byte(`{"a":1}`), Paths: &shellpb.Paths{Persistent: "/p", Volatile: "/v", Data: "/d"},
		Preconditions: []string{"Network"}, Terminations: []string{"!Network"}, Controls: []string{"Internet"}, Requires: []string{"Disk"},
	}, nil
}

func (h *fakeHost) Operate(ctx context.Context, _ *shellpb.OperateRequest) (*shellpb.OperateResponse, error) {
	if h.arrived != nil {
		h.arrived <- struct{}{}
		<-ctx.Done()
	}
	return &shellpb.OperateResponse{}, nil
}

func (h *fakeHost) Configure(context.Context, *shellpb.ConfigureRequest) (*shellpb.ConfigureResponse, error) {
	return &shellpb.ConfigureResponse{}, nil
}

func (h *fakeHost) Notify(context.Context, *shellpb.NotifyRequest) (*shellpb.NotifyResponse, error) {
	return &shellpb.NotifyResponse{}, nil
}

func (h *fakeHost) Interfaces(context.Context, *shellpb.InterfacesRequest) (*shellpb.InterfacesResponse, error) {
	return &shellpb.InterfacesResponse{Services: []string{"a.B"}}, nil
}

func (h *fakeHost) Subsystems(context.Context, *shellpb.SubsystemsRequest) (*shellpb.SubsystemsResponse, error) {
	return &shellpb.SubsystemsResponse{Subsystems: []*shellpb.Subsystem{{Name: "Network", Active: true}, {Name: "Time"}}}, nil
}

func (h *fakeHost) SetSubsystem(context.Context, *shellpb.SetSubsystemRequest) (*shellpb.SetSubsystemResponse, error) {
	return &shellpb.SetSubsystemResponse{}, nil
}

// Watch sends the states that it is told to.
func (h *fakeHost) Watch(r *shellpb.WatchRequest, stream grpc.ServerStreamingServer[shellpb.StateChange]) error {
	callsign := callsignOf(stream.Context())
	if r.GetEvery() {
		callsign = "every"
	}
	for {
		select {
		case state := <-h.state:
			if err := stream.Send(&shellpb.StateChange{Callsign: callsign, State: state}); err != nil {
				return err
			}
		case <-stream.Context().Done():
			return nil
		}
	}
}

func (h *fakeHost) WatchSubsystems(_ *shellpb.WatchSubsystemsRequest, stream grpc.ServerStreamingServer[shellpb.SubsystemsResponse]) error {
	for _, active := range []bool{true, false} {
		err := stream.Send(&shellpb.SubsystemsResponse{Subsystems: []*shellpb.Subsystem{{Name: "Network", Active: active}}})
		if err != nil {
			return err
		}
	}
	return shellpb.ErrorWithDetail(codes.PermissionDenied, "no more", &shellpb.Error{Code: PrivilegedRequest})
}

// Invoke is another plugin's.
func (fakeDispatcher) Invoke(_ context.Context, r *shellpb.InvokeRequest) (*shellpb.InvokeResponse, error) {
	return &shellpb.InvokeResponse{Result: r.GetParams()}, nil
}

// hosted returns a plugin that was initialized by the host, and the way to call
// it.
func hosted(t *testing.T, h *fakeHost, p Plugin, b *bare) (*Instance, *grpc.ClientConn) {
	t.Helper()
	conn := connect(t, p)
	plugin := shellpb.NewPluginClient(conn)
	answer, err := plugin.Initialize(t.Context(), &shellpb.InitializeRequest{
		Callsign: "Me", HostSocket: h.socket, Paths: &shellpb.Paths{Persistent: "/p", Volatile: "/v", Data: "/d"},
	})
	if err != nil || answer.GetError() != "" {
		t.Fatalf("cannot initialize: %v %s", err, answer.GetError())
	}
	t.Cleanup(func() {
		if _, err := plugin.Deinitialize(context.Background(), &shellpb.DeinitializeRequest{}); err != nil {
			t.Errorf("cannot deinitialize: %v", err)
		}
	})
	return b.in, conn
}

// instance is that of a plugin which has every power.
func instance(t *testing.T, h *fakeHost) *Instance {
	t.Helper()
	p := &able{}
	in, _ := hosted(t, h, p, &p.bare)
	return in
}

func TestSubstitute(t *testing.T) {
	in := instance(t, newFakeHost(t))
	got := in.Substitute("%persistentpath%/%callsign%.db %volatilepath%/x %datapath% %datapath %systempath%")
	if want := "/p/Me.db /v/x /d %datapath %systempath%"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestHostIsAsked(t *testing.T) {
	fake := newFakeHost(t)
	in := instance(t, fake)
	h, ctx := in.Host, t.Context()
	operation := func(o shellpb.Operation) proto.Message { return &shellpb.OperateRequest{Operation: o} }
	for _, test := range []struct {
		ask  func() error
		want question
	}{
		{func() error { return h.Activate(ctx, "Net") }, question{"Operate", "Net", operation(shellpb.Operation_OPERATION_ACTIVATE)}},
		{func() error { return h.Restart(ctx, "Tuner") }, question{"Operate", "Tuner", operation(shellpb.Operation_OPERATION_RESTART)}},
		{func() error { return h.Deactivate(ctx, "") }, question{"Operate", "", operation(shellpb.Operation_OPERATION_DEACTIVATE)}},
		{func() error { return h.Unavailable(ctx, "Net") }, question{"Operate", "Net", operation(shellpb.Operation_OPERATION_UNAVAILABLE)}},
		{func() error { return h.Suspend(ctx, "Net") }, question{"Operate", "Net", operation(shellpb.Operation_OPERATION_SUSPEND)}},
		{func() error { return h.Resume(ctx, "Net") }, question{"Operate", "Net", operation(shellpb.Operation_OPERATION_RESUME)}},
		{func() error { return h.Hibernate(ctx, "Net") }, question{"Operate", "Net", operation(shellpb.Operation_OPERATION_HIBERNATE)}},
		{
			func() error { return h.Configure(ctx, "Net", map[string]int{"a": 1}) },
			question{"Configure", "Net", &shellpb.ConfigureRequest{Configuration: []byte(`{"a":1}`)}},
		},
		{
			func() error { return h.Notify(ctx, "rang", []int{1}) },
			question{"Notify", "", &shellpb.NotifyRequest{Event: &shellpb.Event{Name: "rang", Params: []byte(`[1]`)}}},
		},
		{
			func() error { return h.SetSubsystem(ctx, "Network", true) },
			question{"SetSubsystem", "", &shellpb.SetSubsystemRequest{Subsystem: &shellpb.Subsystem{Name: "Network", Active: true}}},
		},
		{
			func() error { return h.Invoke(ctx, "Net", "get", "x", nil) },
			question{"Invoke", "Net", &shellpb.InvokeRequest{Method: "get", Params: []byte(`"x"`)}},
		},
	} {
		if err := test.ask(); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff([]question{test.want}, fake.asked(), protocmp.Transform()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestHostTells(t *testing.T) {
	in := instance(t, newFakeHost(t))
	h, ctx := in.Host, t.Context()
	status, err := h.Status(ctx, "Net")
	want := Status{
		Change: Change{Callsign: "Net", State: StateHibernated, Control: statecontrol.Suspended, Reason: InstantiationFailed},
		Error:  "no", Class: "net", Locator: "/bin/net", Version: Version{1, 2, 3}, StartMode: StateActivated, Resumed: true,
		Configuration: Configuration(`{"a":1}`), Paths: Paths{"/p", "/v", "/d"},
		Preconditions: []string{"Network"}, Terminations: []string{"!Network"}, Controls: []string{"Internet"}, Requires: []string{"Disk"},
	}
	if diff := cmp.Diff(want, status); diff != "" || err != nil {
		t.Error(err, diff)
	}
	interfaces, err := h.Interfaces(ctx, "Net")
	if !slices.Equal(interfaces, []string{"a.B"}) || err != nil {
		t.Errorf("got %v, %v", interfaces, err)
	}
	subsystems, err := h.Subsystems(ctx)
	if !slices.Equal(subsystems, []Subsystem{{"Network", true}, {"Time", false}}) || err != nil {
		t.Errorf("got %v, %v", subsystems, err)
	}
	for _, params := range []any{1.5, nil} {
		var raw json.RawMessage
		if err := h.Invoke(ctx, "Net", "echo", params, &raw); err != nil {
			t.Error(err)
		}
		if want, _ := json.Marshal(params); string(raw) != string(want) {
			t.Errorf("got %s, want %s", raw, want)
		}
	}
	var seen [][]Subsystem
	for all, err := range h.WatchSubsystems(ctx) {
		if err != nil {
			if e, ok := errors.AsType[*Error](err); !ok || e.Code != PrivilegedRequest {
				t.Errorf("got %v", err)
			}
			break
		}
		seen = append(seen, all)
	}
	if diff := cmp.Diff([][]Subsystem{{{"Network", true}}, {{"Network", false}}}, seen); diff != "" {
		t.Error(diff)
	}
}

func TestHostRefuses(t *testing.T) {
	fake := newFakeHost(t)
	in := instance(t, fake)
	for _, test := range []struct {
		refuse error
		want   *Error
	}{
		{shellpb.ErrorWithDetail(codes.Unavailable, "asleep", &shellpb.Error{Code: Hibernated, Data: []byte(`[1]`)}),
			&Error{Code: Hibernated, Message: "asleep", Data: json.RawMessage(`[1]`)}},
		{shellpb.ErrorWithDetail(codes.NotFound, "there is no Nat", &shellpb.Error{Code: UnknownKey}), &Error{Code: UnknownKey, Message: "there is no Nat"}},
		{errors.New("plain"), &Error{Code: General, Message: "plain"}},
	} {
		fake.refuse = test.refuse
		err := in.Host.Activate(t.Context(), "Nat")
		got, _ := errors.AsType[*Error](err)
		if diff := cmp.Diff(test.want, got); diff != "" || !strings.HasPrefix(err.Error(), "cannot activate Nat: ") {
			t.Error(err, diff)
		}
	}
}

// What the host can't do is said once.
func TestRefusalIsSaidOnce(t *testing.T) {
	fake := newFakeHost(t)
	in := instance(t, fake)
	for refused, want := range map[string]string{
		"cannot activate Nat: it is asleep": "cannot activate Nat: it is asleep",
		"cannot activate: it is asleep":     "cannot activate Nat: it is asleep",
		"cannot wake Nat: it is damaged":    "cannot activate Nat: cannot wake Nat: it is damaged",
	} {
		fake.refuse = errors.New(refused)
		err := in.Host.Activate(t.Context(), "Nat")
		if _, is := errors.AsType[*Error](err); !is || err.Error() != want {
			t.Errorf("%s: got %v", refused, err)
		}
	}
}

func TestNoHost(t *testing.T) {
	for _, in := range []*Instance{{}, {Host: &Host{}}, alone(t)} {
		if err := in.Host.Suspend(t.Context(), ""); err == nil || err.Error() != "cannot suspend itself: the host offers its plugins nothing to call" {
			t.Errorf("got %v", err)
		}
		for _, err := range in.Host.WatchAll(t.Context()) {
			if err == nil {
				t.Error("a host that is not there told something")
			}
		}
	}
}

// alone is the instance of a plugin whose host has no socket for it.
func alone(t *testing.T) *Instance {
	t.Helper()
	a := &able{}
	start(t, a)
	return a.in
}

// TestSleep walks through a hibernation as the host sees it, once with a sleep
// and once with one that came to nothing: nothing of the line may be open in
// between, and what was watched is watched again.
func TestSleep(t *testing.T) {
	fake := newFakeHost(t)
	fake.arrived = make(chan struct{})
	p := &able{}
	in, conn := hosted(t, fake, p, &p.bare)
	hooks := shellpb.NewHooksClient(conn)
	changes := make(chan Change)
	ctx, leave := context.WithCancel(t.Context())
	var watching sync.WaitGroup
	watching.Go(func() {
		defer close(changes)
		for change, err := range in.Host.Watch(ctx, "Net") {
			if err != nil {
				t.Errorf("cannot watch: %v", err)
			}
			changes <- change
		}
	})
	fake.expect(t, changes, shellpb.State_STATE_ACTIVATED, StateActivated)

	for range 2 {
		running := make(chan error)
		go func() { running <- in.Host.Hibernate(t.Context(), "") }()
		<-fake.arrived
		session := in.Host.conn.dialed
		if _, err := hooks.BeforeCheckpoint(t.Context(), &shellpb.BeforeCheckpointRequest{}); err != nil {
			t.Fatal(err)
		}
		if err := <-running; !errors.Is(err, ErrSlept) {
			t.Errorf("a call that ran ended with %v", err)
		}
		for _, socket := range session.sockets {
			if _, err := socket.Write([]byte{0}); !errors.Is(err, net.ErrClosed) {
				t.Errorf("a socket is still open: %v", err)
			}
		}
		short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := in.Host.Status(short, ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("asleep, a call ended with %v", err)
		}
		cancel()
		if in.Host.conn.dialed != nil {
			t.Error("a call made a connection while the plugin was going to sleep")
		}
		waiting := make(chan error)
		go func() {
			_, err := in.Host.Status(t.Context(), "")
			waiting <- err
		}()
		if _, err := hooks.AfterRestore(t.Context(), &shellpb.AfterRestoreRequest{}); err != nil {
			t.Fatal(err)
		}
		if err := <-waiting; err != nil {
			t.Errorf("after the wake, a call that waited ended with %v", err)
		}
		fake.expect(t, changes, shellpb.State_STATE_HIBERNATED, StateHibernated)
	}
	leave()
	watching.Wait()
}

// expect lets the stream that is open tell a state, and waits for the plugin to
// hear of it.
func (h *fakeHost) expect(t *testing.T, changes <-chan Change, told shellpb.State, want State) {
	t.Helper()
	h.state <- told
	if got := <-changes; got.State != want || got.Callsign != "Net" {
		t.Errorf("heard %+v, want %s of Net", got, want)
	}
}

// asking calls the host in its hooks.
type asking struct {
	able
	refuse error
	states []State
}

func (a *asking) BeforeCheckpoint(ctx context.Context) error { return a.ask(ctx) }

func (a *asking) AfterRestore(ctx context.Context, _ Wake) error { return a.ask(ctx) }

func (a *asking) ask(ctx context.Context) error {
	status, err := a.in.Host.Status(ctx, "")
	if err != nil {
		return err
	}
	a.states = append(a.states, status.State)
	return a.refuse
}

// TestHooksCallHost makes sure that the host can be called in both hooks, and on
// after a hook that refused.
func TestHooksCallHost(t *testing.T) {
	a := &asking{}
	in, conn := hosted(t, newFakeHost(t), a, &a.bare)
	hooks := shellpb.NewHooksClient(conn)
	a.refuse = errors.New("busy")
	if _, err := hooks.BeforeCheckpoint(t.Context(), &shellpb.BeforeCheckpointRequest{}); err == nil {
		t.Error("the hook did not refuse")
	}
	if _, err := in.Host.Status(t.Context(), ""); err != nil {
		t.Errorf("after a hook that refused: %v", err)
	}
	a.refuse = nil
	if _, err := hooks.BeforeCheckpoint(t.Context(), &shellpb.BeforeCheckpointRequest{}); err != nil {
		t.Error(err)
	}
	if _, err := hooks.AfterRestore(t.Context(), &shellpb.AfterRestoreRequest{}); err != nil {
		t.Error(err)
	}
	if want := []State{StateHibernated, StateHibernated, StateHibernated}; !slices.Equal(a.states, want) {
		t.Errorf("the hooks got %v, want %v", a.states, want)
	}
}

// TestWatchOutlivesHost ends the host below a watch, which goes on with the next.
func TestWatchOutlivesHost(t *testing.T) {
	fake := &fakeHost{socket: filepath.Join(t.TempDir(), "host"), state: make(chan shellpb.State)}
	stop := fake.serve(t)
	in := instance(t, fake)
	told := []shellpb.State{shellpb.State_STATE_ACTIVATED, shellpb.State_STATE_DEACTIVATED}
	go func() { fake.state <- told[0] }()
	for change, err := range in.Host.WatchAll(t.Context()) {
		if err != nil || change.Callsign != "every" || change.State != State(told[0].Words()) {
			t.Errorf("got %+v, %v", change, err)
		}
		told = told[1:]
		if len(told) == 0 {
			break
		}
		stop()
		fake.serve(t)
		go func() { fake.state <- told[0] }()
	}
}
