// Package native tests a host as native clients and plugins meet it: real
// plugin processes, real sockets and, where CRIU is, real checkpoints.
package native

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"dormouse/configs"
	"dormouse/hibernate/criu"
	"dormouse/internal/leaktest"
	"dormouse/internal/unixsock"
	"dormouse/plugins/client"
	"dormouse/plugins/host"
	"dormouse/shell/shellpb"
)

// patience is how long anything may take that should succeed.
const patience = 30 * time.Second

// bin holds the plugins; engine hibernates.
var (
	bin    string
	engine *criu.Engine
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	// What go test let slip through could not be checkpointed.
	if err := unix.CloseRange(3, ^uint(0), unix.CLOSE_RANGE_CLOEXEC); err != nil {
		return 1, err
	}
	if bin, err = os.MkdirTemp("", "dm"); err != nil {
		return 1, err
	}
	defer os.RemoveAll(bin)
	// Without the race detector, whose memory would be dumped too.
	cmd := exec.Command("go", "build", "-o", bin+"/", "../../plugins/examples/counter", "../streams/plugin")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("cannot build the plugins: %w\n%s", err, out)
	}
	engine = criu.Open(os.Getenv("DORMOUSE_CRIU"), bin)
	return leaktest.Run(m, "google.golang.org/grpc/"), nil
}

// rig is a host without its network front, and a client of it.
type rig struct {
	t      *testing.T
	dir    string
	host   *host.Host
	client *client.Client
}

// startHost starts the plugins: Streams and Counter, active and suspended, and
// Other, which is Streams once more, not active, and can be woken by calls.
func startHost(t *testing.T, besides ...configs.Plugin) *rig {
	t.Helper()
	dir, err := os.MkdirTemp("", "dn") //nolint:usetesting // the name of t.TempDir may be too long for a socket in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	h := &rig{t: t, dir: dir}
	other := plugin("Other", "plugin", false)
	other.OnCall = configs.OnCallWake
	plugins := append(besides, plugin("Streams", "plugin", true), plugin("Counter", "counter", true), other)
	o := host.PrivateOptions(dir, zerolog.New(zerolog.NewTestWriter(t)), plugins...)
	o.Version, o.Engine = "v1.2.3", engine
	h.host, err = host.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.host.CleanUpAndClose(false); err != nil {
			t.Error(err)
		}
	})
	l, err := unixsock.ListenReplacingStale(h.socket())
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- h.host.Communicator.ServeNative(l) }()
	h.host.Supervisor.Start(t.Context())
	if h.client, err = client.New(h.socket()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.client.Close(); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := h.host.StopPluginsAndCommunicator(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return h
}

func plugin(callsign, program string, active bool) configs.Plugin {
	c := configs.DefaultPlugin()
	c.Callsign = callsign
	c.Executable = filepath.Join(bin, program)
	suspended := false
	c.Resume = &suspended
	if active {
		c.StartMode = configs.StartActivated
	}
	return c
}

func (h *rig) socket() string { return filepath.Join(h.dir, "run", "communicator") }

// hostSocket is where the host serves the plugin Streams.
func (h *rig) hostSocket() string { return filepath.Join(h.dir, "run", "Streams", "host") }

func (h *rig) limited() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	h.t.Cleanup(cancel)
	return ctx
}

func (h *rig) operate(callsign string, o shellpb.Operation) error {
	_, err := h.client.Shell(callsign).Operate(h.limited(), &shellpb.OperateRequest{Operation: o})
	return err
}

func (h *rig) must(callsign string, operations ...shellpb.Operation) {
	h.t.Helper()
	for _, o := range operations {
		if err := h.operate(callsign, o); err != nil {
			h.t.Fatalf("%s %v: %v", callsign, o, err)
		}
	}
}

// call runs a JSON-RPC method of Streams.
func (h *rig) call(method string) string {
	h.t.Helper()
	answer, err := shellpb.NewDispatcherClient(h.client.Conn("Streams")).Invoke(h.limited(), &shellpb.InvokeRequest{Method: method})
	if err != nil {
		h.t.Fatalf("%s: %v", method, err)
	}
	return string(answer.GetResult())
}

// dial connects to a socket of whatever kind.
func dial(t *testing.T, path string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}
