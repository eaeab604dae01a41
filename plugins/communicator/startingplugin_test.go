package communicator

import (
	"context"
	"net"
	"path/filepath"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/shell/shelltest"
	"dormouse/supervisor"
)

// TestStartingPluginDoesNotWait has a plugin call, while it is initialized, an instance that
// the host starts after it, and so not before the plugin has its answer.
func TestStartingPluginDoesNotWait(t *testing.T) {
	plugins := make(map[string]*shelltest.Plugin)
	var configured []configs.Plugin
	for order, callsign := range []string{"Early", "Later"} {
		plugins[callsign] = &shelltest.Plugin{Complain: t.Errorf}
		p := configs.DefaultPlugin()
		p.Callsign, p.StartMode, p.StartupOrder, p.CallTimeout = callsign, configs.StartActivated, order, configs.Duration(time.Hour)
		configured = append(configured, p)
	}
	s, err := supervisor.New(supervisor.Options{
		Plugins: configured, HibernateTimeout: time.Minute, Log: zerolog.Nop(),
		Backend: func(config func() configs.Plugin, sink shell.Sink) shell.Backend {
			p := plugins[config().Callsign]
			p.Attach(config, sink)
			return p
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Stop(t.Context())
	c := New(Options{Supervisor: s, Log: zerolog.Nop()}, Group{})
	defer c.StopListeningAndWait()
	path := filepath.Join(shortDir(t), "host")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.ServeInstance("Early", l)()
	conn, err := grpc.NewClient("unix:"+path, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	refused := make(chan error, 1)
	plugins["Early"].OnAction = func(ctx context.Context, action, _ string) error {
		if action == shelltest.Initialize {
			_, err := shellpb.NewDispatcherClient(shellpb.ConnToPlugin("Later", conn)).Invoke(ctx, &shellpb.InvokeRequest{Method: "echo"})
			refused <- err
		}
		return nil
	}
	s.Adopt(t.Context())
	s.Start(t.Context())
	if err := <-refused; status.Code(err) != codes.Unavailable {
		t.Errorf("got %v", err)
	}
	if later, _ := s.Shell("Later"); later.State() != shell.Activated {
		t.Errorf("Later is %s", later.State())
	}
}
