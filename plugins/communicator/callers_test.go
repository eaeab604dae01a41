package communicator

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/shell/shelltest"
	"dormouse/supervisor"
)

// callee is a connection to a plugin that keeps the last question, with its metadata.
type callee struct {
	mu       sync.Mutex
	metadata metadata.MD
	invoke   *shellpb.InvokeRequest
	exists   *shellpb.ExistsRequest
}

func (c *callee) Invoke(ctx context.Context, method string, args, reply any, _ ...grpc.CallOption) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.metadata, _ = metadata.FromOutgoingContext(ctx)
	data, err := codec{}.Marshal(args)
	if err != nil {
		return err
	}
	defer data.Free()
	c.invoke, c.exists = &shellpb.InvokeRequest{}, &shellpb.ExistsRequest{}
	switch method {
	case shellpb.Dispatcher_Invoke_FullMethodName:
		err = protobuf.Unmarshal(data, c.invoke)
	case shellpb.Dispatcher_Exists_FullMethodName:
		err = protobuf.Unmarshal(data, c.exists)
	}
	if answer, ok := reply.(*frame); ok {
		answer.data = mem.BufferSlice{}
	}
	return err
}

func (c *callee) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return nil, status.Error(codes.Unimplemented, "not in this test")
}

// callerRig is a host with the active instances Parent and Other, of which the latter is a
// callee, and with the virtual plugin Child of Parent.
type callerRig struct {
	*callee
	t       *testing.T
	c       *Communicator
	dir     string
	builtin string // the caller that the built-in Inside saw last
}

// whoService asks for the caller of a call; a native client needs the role operate.
func whoService(r *callerRig) HostService {
	who := func(_ any, ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
		var question shellpb.StatusRequest
		if err := decode(&question); err != nil {
			return nil, err
		}
		return intercept(ctx, &question, &grpc.UnaryServerInfo{FullMethod: "/test.Who/Is"}, func(ctx context.Context, _ any) (any, error) {
			return &shellpb.StatusResponse{Callsign: shell.CallerOf(ctx)}, nil
		})
	}
	return HostService{
		Desc:   &grpc.ServiceDesc{ServiceName: "test.Who", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{MethodName: "Is", Handler: who}}, Metadata: "who.proto"},
		Server: r,
		Access: func(_ context.Context, method string, _ any) (access.Role, access.Target) {
			return access.Operate, access.Target{Method: method}
		},
	}
}

func newCallerRig(t *testing.T) *callerRig {
	t.Helper()
	r := &callerRig{callee: &callee{}, t: t, dir: shortDir(t)}
	var plugins []configs.Plugin
	for _, callsign := range []string{"Parent", "Other"} {
		p := configs.DefaultPlugin()
		p.Callsign, p.StartMode = callsign, configs.StartActivated
		plugins = append(plugins, p)
	}
	s, err := supervisor.New(supervisor.Options{
		Plugins: plugins, Log: zerolog.Nop(),
		Builtins: []supervisor.Builtin{{Callsign: "Inside", Backend: func(*supervisor.Supervisor, shell.Sink) shell.Backend {
			return struct{ shell.Backend }{&shelltest.Plugin{OnAction: func(ctx context.Context, action, _ string) error {
				if action == shelltest.Invoke {
					r.builtin = shell.CallerOf(ctx)
				}
				return nil
			}}}
		}}},
		Backend: func(config func() configs.Plugin, sink shell.Sink) shell.Backend {
			p := &shelltest.Plugin{Connection: r.callee}
			p.Attach(config, sink)
			return p
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	rows := []configs.Access{{Plugin: "*", Role: configs.RoleCall}}
	for role := access.Read; role <= access.Admin; role++ {
		rows = append(rows, configs.Access{User: fmt.Sprint(60000 + int(role)), Role: configs.Role(role.String())})
	}
	r.c = New(Options{
		Supervisor: s, Log: zerolog.Nop(), NeededRole: jsonRPCRole, TargetOf: jsonRPCTarget,
		Access:        access.NewGuard(access.Rules{Rows: rows}),
		BuiltinAccess: func(*shell.Shell, shell.Call) (access.Role, access.Target) { return access.Read, access.Target{} },
		Services:      []HostService{whoService(r)},
	}, Group{})
	t.Cleanup(func() {
		s.Stop(context.Background())
		r.c.StopListeningAndWait()
	})
	s.Adopt(t.Context())
	s.Start(t.Context())
	if err := s.CreateVirtual(t.Context(), "Parent", supervisor.Virtual{Callsign: "Child"}); err != nil {
		t.Fatal(err)
	}
	return r
}

// serveAndConnect returns a connection to a socket that serve serves.
func (r *callerRig) serveAndConnect(name string, serve func(net.Listener) (stop func())) *grpc.ClientConn {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	l, err := net.Listen("unix", path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(serve(l))
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// plugin returns a connection of the plugin of that callsign.
func (r *callerRig) plugin(callsign string) *grpc.ClientConn {
	r.t.Helper()
	return r.serveAndConnect(callsign, func(l net.Listener) func() { return r.c.ServeInstance(callsign, l) })
}

// native returns a connection of a native client, the test's own user.
func (r *callerRig) native() *grpc.ClientConn {
	r.t.Helper()
	return r.serveAndConnect("native", func(l net.Listener) func() {
		served := make(chan error)
		go func() { served <- r.c.ServeNative(l) }()
		return func() {
			if err := r.c.StopServingNative(context.Background()); err != nil {
				r.t.Error(err)
			}
			if err := <-served; err != nil {
				r.t.Error(err)
			}
		}
	})
}

// TestCallerIsTheHostsWord has a plugin, its virtual plugin and a native client call a plugin,
// a built-in and a service of the host, with a forged caller in metadata and message.
func TestCallerIsTheHostsWord(t *testing.T) {
	r := newCallerRig(t)
	parent, native := r.plugin("Parent"), r.native()
	for _, test := range []struct {
		name string
		conn *grpc.ClientConn
		as   string
		want string
	}{
		{"plugin", parent, "", "Parent"},
		{"virtual plugin", parent, "Child", "Child"},
		{"client", native, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			forged := metadata.AppendToOutgoingContext(t.Context(), shellpb.CallerKey, "Other", "dormouse-as-well", "Other", "x-own", "kept")
			ctx := shellpb.WithAs(forged, test.as)
			other := shellpb.ConnToPlugin("Other", test.conn)
			if _, err := shellpb.NewDispatcherClient(other).Invoke(ctx, &shellpb.InvokeRequest{Method: "m", Params: []byte("7"), Caller: "Other", Callsign: "Child"}); err != nil {
				t.Fatal(err)
			}
			if q := r.invoke; q.GetCaller() != test.want || q.GetCallsign() != "Other" || q.GetMethod() != "m" || string(q.GetParams()) != "7" {
				t.Errorf("Invoke: the plugin got %v", q)
			}
			if _, err := shellpb.NewDispatcherClient(other).Exists(ctx, &shellpb.ExistsRequest{Method: "m", Callsign: "Child"}); err != nil {
				t.Fatal(err)
			}
			if q := r.exists; q.GetCallsign() != "Other" || q.GetMethod() != "m" {
				t.Errorf("Exists: the plugin got %v", q)
			}
			if err := other.Invoke(ctx, "/test.Own/Method", &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
				t.Fatal(err)
			}
			want := metadata.MD{"x-own": {"kept"}}
			if test.want != "" {
				want[shellpb.CallerKey] = []string{test.want}
			}
			if got := r.metadata; len(got) != len(want) || len(got[shellpb.CallerKey]) != len(want[shellpb.CallerKey]) || shellpb.CallerFromContext(metadata.NewIncomingContext(ctx, got)) != test.want {
				t.Errorf("own service: the plugin got %v, want %v", got, want)
			}
			inside := shellpb.NewDispatcherClient(shellpb.ConnToPlugin("Inside", test.conn))
			if _, err := inside.Invoke(ctx, &shellpb.InvokeRequest{Method: "see", Caller: "Other"}); err != nil || r.builtin != test.want {
				t.Errorf("the built-in saw %q: %v", r.builtin, err)
			}
			var who shellpb.StatusResponse
			if err := test.conn.Invoke(ctx, "/test.Who/Is", &shellpb.StatusRequest{}, &who); err != nil || who.GetCallsign() != test.want {
				t.Errorf("the host's service saw %q: %v", who.GetCallsign(), err)
			}
		})
	}
}

// TestCallerSpeaksForOwnChildOnly has a plugin and a client speak for what is not a virtual
// plugin of theirs.
func TestCallerSpeaksForOwnChildOnly(t *testing.T) {
	r := newCallerRig(t)
	parent, other, native := r.plugin("Parent"), r.plugin("Other"), r.native()
	for _, test := range []struct {
		name string
		conn *grpc.ClientConn
		as   []string
	}{
		{"another instance", parent, []string{"Other"}},
		{"itself", parent, []string{"Parent"}},
		{"unknown", parent, []string{"Nowhere"}},
		{"nothing", parent, []string{""}},
		{"own child and another", parent, []string{"Child", "Other"}},
		{"another and own child", parent, []string{"Other", "Child"}},
		{"another's child", other, []string{"Child"}},
		{"a client", native, []string{"Child"}},
	} {
		ctx := t.Context()
		for _, callsign := range test.as {
			ctx = metadata.AppendToOutgoingContext(ctx, shellpb.AsKey, callsign)
		}
		_, err := shellpb.NewShellClient(test.conn).Subsystems(ctx, &shellpb.SubsystemsRequest{})
		if status.Code(err) != codes.PermissionDenied || shellpb.ErrorDetailOf(err).GetCode() != 24 {
			t.Errorf("%s: got %v", test.name, err)
		}
	}
}

// TestHostServiceNeedsRole has clients below the role that a service of the host needs refused,
// and plugins not.
func TestHostServiceNeedsRole(t *testing.T) {
	for role := access.None; role <= access.Admin; role++ {
		r := newCallerRig(t)
		r.c.natives[0].connections.identify = func(net.Conn) (access.Client, error) { return withRole(role), nil }
		want := codes.PermissionDenied
		switch {
		case role == access.None:
			want = codes.Unauthenticated
		case role >= access.Operate:
			want = codes.OK
		}
		var who shellpb.StatusResponse
		if err := r.native().Invoke(t.Context(), "/test.Who/Is", &shellpb.StatusRequest{}, &who); status.Code(err) != want {
			t.Errorf("%s: got %v, want %v", role, err, want)
		}
		if err := r.plugin("Other").Invoke(t.Context(), "/test.Who/Is", &shellpb.StatusRequest{}, &who); err != nil || who.GetCallsign() != "Other" {
			t.Errorf("the plugin got %v: %v", &who, err)
		}
	}
}
