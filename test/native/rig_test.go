// Package native tests a host as native clients and plugins meet it: real
// plugin processes, real sockets and, where CRIU is, real checkpoints.
package native

import (
	"context"
	"fmt"
	"net"
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
	"dormouse/hibernate"
	"dormouse/hibernate/criu"
	"dormouse/internal/leaktest"
	"dormouse/internal/native"
	"dormouse/plugins/client"
	"dormouse/plugins/communicator"
	"dormouse/plugins/monitor"
	"dormouse/shell"
	"dormouse/shell/process"
	"dormouse/shell/shellpb"
	"dormouse/supervisor"
)

// patience is how long anything may take that should succeed.
const patience = 30 * time.Second

// bin holds the plugins and pid 1; engine hibernates.
var (
	bin    string
	pidone string
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
	if pidone, err = native.InstallPidone(bin); err != nil {
		return 1, err
	}
	engine = criu.Open(os.Getenv("DORMOUSE_CRIU"), bin)
	return leaktest.Run(m, "google.golang.org/grpc/"), nil
}

// host is a host without its network front.
type host struct {
	t          *testing.T
	dir        string
	supervisor *supervisor.Supervisor
	served     *communicator.Communicator
	client     *client.Client
}

// startHost starts the plugins: Streams and Counter, active and suspended, and
// Other, which is Streams once more, not active, and can be woken by calls.
func startHost(t *testing.T, besides ...configs.Plugin) *host {
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
	h := &host{t: t, dir: dir}
	images, err := hibernate.OpenStore(filepath.Join(dir, "images"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(images.Close)
	log := zerolog.New(zerolog.NewTestWriter(t))
	backends := process.Host{
		RunDir: filepath.Join(dir, "run"), StateDir: dir, Pidone: pidone, Engine: engine, Images: images, Log: log,
		Serve: func(callsign string, l net.Listener) func() { return h.served.ServeInstance(callsign, l) },
	}
	if cgroups, err := process.OpenCgroups(backends.RunDir); err == nil {
		backends.Cgroups = cgroups
		t.Cleanup(func() {
			if err := cgroups.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	other := plugin("Other", "plugin", false)
	other.OnCall = configs.OnCallWake
	h.supervisor, err = supervisor.New(supervisor.Options{
		Plugins: append(besides, plugin("Streams", "plugin", true), plugin("Counter", "counter", true), other),
		Classes: map[string]supervisor.Class{
			monitor.Class: func(s *supervisor.Supervisor, config func() configs.Plugin, sink shell.Sink) shell.Backend {
				return monitor.New(s, config, sink, log)
			},
		},
		HibernateTimeout: patience,
		Log:              log,
		Backend: func(config func() configs.Plugin, sink shell.Sink) shell.Backend {
			return process.New(backends, config, sink)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	h.served = communicator.New(communicator.Options{
		Supervisor: h.supervisor, Log: log, Version: "v1.2.3", Paths: backends.Paths,
	}, communicator.Group{})
	if err := os.MkdirAll(backends.RunDir, 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := communicator.Listen(h.socket(), communicator.Group{})
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- h.served.Serve(l) }()
	h.supervisor.Start(t.Context())
	if h.client, err = client.Dial(h.socket()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.client.Close(); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := h.served.Close(ctx); err != nil {
			t.Error(err)
		}
		if err := <-served; err != nil {
			t.Error(err)
		}
		h.supervisor.Stop(ctx)
		h.served.Wait()
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

func (h *host) socket() string { return filepath.Join(h.dir, "run", "communicator") }

// hostSocket is where the host serves the plugin Streams.
func (h *host) hostSocket() string { return filepath.Join(h.dir, "run", "Streams", "host") }

func (h *host) limited() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	h.t.Cleanup(cancel)
	return ctx
}

func (h *host) operate(callsign string, o shellpb.Operation) error {
	_, err := h.client.Shell(callsign).Operate(h.limited(), &shellpb.OperateRequest{Operation: o})
	return err
}

func (h *host) must(callsign string, operations ...shellpb.Operation) {
	h.t.Helper()
	for _, o := range operations {
		if err := h.operate(callsign, o); err != nil {
			h.t.Fatalf("%s %v: %v", callsign, o, err)
		}
	}
}

// call runs a JSON-RPC method of Streams.
func (h *host) call(method string) string {
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
