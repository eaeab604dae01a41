package sdk

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"dormouse/shell/shellpb"
)

// TestMain lets the test binary be the plugin that serve_test.go starts, and
// fails when the tests leave goroutines behind.
func TestMain(m *testing.M) {
	if os.Getenv(shellpb.CookieKey) != "" || len(os.Args) > 1 && os.Args[1] == "by-hand" {
		Serve(&chatty{})
		return
	}
	before := runtime.NumGoroutine()
	code := m.Run()
	if left := goroutines(before); code == 0 && left != "" {
		fmt.Fprintf(os.Stderr, "goroutines are left:\n%s\n", left)
		code = 1
	}
	os.Exit(code)
}

// goroutines waits for all but n to end and returns the stacks if they don't.
func goroutines(n int) string {
	late := time.After(5 * time.Second)
	tick := time.Tick(10 * time.Millisecond)
	for {
		select {
		case <-tick:
			if runtime.NumGoroutine() <= n {
				return ""
			}
		case <-late:
			stacks := make([]byte, 1<<20)
			return string(stacks[:runtime.Stack(stacks, true)])
		}
	}
}

// bare is the least that a plugin can be.
type bare struct{ in *Instance }

func (b *bare) Initialize(_ context.Context, in *Instance) error {
	b.in = in
	return nil
}

func (b *bare) Deinitialize(context.Context, Reason) error { return nil }

// connect serves p in this process and returns the host's end.
func connect(t *testing.T, p Plugin) *grpc.ClientConn {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(p, newHclogJSONLogger(t.Output()))
	g := s.newGRPCServer(nil)
	s.registerAndListServices(g)
	served := make(chan error, 1)
	go func() { served <- g.Serve(listener) }()
	t.Cleanup(func() {
		g.Stop()
		if err := <-served; err != nil {
			t.Errorf("cannot serve: %v", err)
		}
	})
	return dial(t, socket)
}

func dial(t *testing.T, socket string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient("unix:"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// start is connect and Initialize.
func start(t *testing.T, p Plugin) *grpc.ClientConn {
	t.Helper()
	conn := connect(t, p)
	answer, err := shellpb.NewPluginClient(conn).Initialize(t.Context(), &shellpb.InitializeRequest{Callsign: "Test"})
	if err != nil || answer.GetError() != "" {
		t.Fatalf("cannot initialize: %v %s", err, answer.GetError())
	}
	return conn
}
