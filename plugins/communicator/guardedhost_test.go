package communicator

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/plugins/packager"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/shell/shelltest"
	"dormouse/supervisor"
)

// guardedHost is a communicator whose next clients are what the test says.
type guardedHost struct {
	*Communicator
	t      *testing.T
	path   string
	log    lockedBuffer
	client atomic.Pointer[access.Client]
	// sockets counts the host sockets.
	sockets int
}

// lockedBuffer is a log that may be read while it is written.
type lockedBuffer struct {
	mu    sync.Mutex
	lines strings.Builder
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.lines.Write(p)
}

// take returns what was logged since the last take.
func (b *lockedBuffer) take() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	defer b.lines.Reset()
	return b.lines.String()
}

// newGuardedHost serves a supervisor with the instances A and B. Users 60001 to 60004 have
// the roles from read to admin.
func newGuardedHost(t *testing.T) *guardedHost {
	t.Helper()
	return newGuardedHostFor(t, nil)
}

// newGuardedHostFor is like newGuardedHost, and finds out its clients by identify unless
// that is nil.
func newGuardedHostFor(t *testing.T, identify identifier) *guardedHost {
	t.Helper()
	var plugins []configs.Plugin
	for _, callsign := range []string{"A", "B"} {
		p := configs.DefaultPlugin()
		p.Callsign, p.Executable, p.StartMode = callsign, "/opt/secret/plugin", configs.StartDeactivated
		p.Configuration = map[string]any{"password": "hunter2"}
		plugins = append(plugins, p)
	}
	s, err := supervisor.New(supervisor.Options{
		Plugins: plugins, Log: zerolog.Nop(),
		Builtins: []supervisor.Builtin{{Callsign: "Inside", Backend: func(*supervisor.Supervisor, shell.Sink) shell.Backend {
			return struct{ shell.Backend }{&shelltest.Plugin{}}
		}}},
		Backend: func(config func() configs.Plugin, sink shell.Sink) shell.Backend {
			p := &shelltest.Plugin{}
			p.Attach(config, sink)
			return p
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var rows []configs.Access
	for role := access.Read; role <= access.Admin; role++ {
		rows = append(rows, configs.Access{User: fmt.Sprint(60000 + int(role)), Role: configs.Role(role.String())})
	}
	rows = append(rows, configs.Access{Plugin: "Trusted", Role: configs.RoleOperate}, configs.Access{User: "61000", Role: configs.RoleAdmin, Callsigns: []string{"A"}},
		configs.Access{User: "61001", Role: configs.RoleCall, Methods: []string{"allowed*"}})
	h := &guardedHost{t: t, path: filepath.Join(shortDir(t), "socket")}
	h.Communicator = New(Options{
		Flows:      func(string) shellpb.FlowsServer { return receivingFlows{} },
		Supervisor: s, Log: zerolog.New(&h.log), NeededRole: jsonRPCRole, TargetOf: jsonRPCTarget,
		Access:         access.NewGuard(access.Rules{Rows: rows, OperatorGroup: fmt.Sprint(membersGroup)}),
		PackagerAccess: packager.NeededAccess,
		BuiltinAccess: func(sh *shell.Shell, c shell.Call) (access.Role, access.Target) {
			needed := map[string]access.Role{"see": access.Read, "set": access.Operate}[c.Method]
			return needed, access.Target{Callsign: sh.Callsign(), Method: c.Method}
		},
		Paths: func(configs.Plugin) *shellpb.Paths { return &shellpb.Paths{Persistent: "/var/lib/secret"} },
	}, Group{})
	if identify == nil {
		identify = func(net.Conn) (access.Client, error) { return *h.client.Load(), nil }
	}
	h.natives[0].connections.identify = identify
	l, err := net.Listen("unix", h.path)
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- h.ServeNative(l) }()
	t.Cleanup(func() {
		if err := h.StopServingNative(context.Background()); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		s.Stop(context.Background())
		h.StopListeningAndWait()
	})
	return h
}

// connect returns a connection of that client.
func (h *guardedHost) connect(client access.Client) *grpc.ClientConn {
	h.t.Helper()
	h.client.Store(&client)
	return h.connectTo(h.path)
}

func (h *guardedHost) connectTo(path string) *grpc.ClientConn {
	h.t.Helper()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// plugin returns a connection of the plugin of that callsign on its host socket.
func (h *guardedHost) plugin(callsign string) *grpc.ClientConn {
	h.t.Helper()
	h.sockets++
	path := fmt.Sprintf("%s.%d", h.path, h.sockets)
	l, err := net.Listen("unix", path)
	if err != nil {
		h.t.Fatal(err)
	}
	stop := h.ServeInstance(callsign, l)
	h.t.Cleanup(stop)
	return h.connectTo(path)
}

// receivingFlows is a service Flows that looks at one message and has no flow for it.
type receivingFlows struct {
	shellpb.UnimplementedFlowsServer
}

func (receivingFlows) PublishStream(stream grpc.BidiStreamingServer[shellpb.PublishRequest, shellpb.PublishResponse]) error {
	_, err := stream.Recv()
	return err
}
