package sdk

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	"dormouse/shell/shellpb"
)

// endTimeout is how long Deinitialize has when the plugin ends without the
// host having called it.
const endTimeout = 5 * time.Second

// Serve runs p until the host ends it, or the process is sent SIGTERM; main
// should return after it. SIGINT is ignored: it is meant for the host in whose
// terminal the plugin happens to run. In a process that no host started, Serve
// says so on standard error and exits with status 1.
func Serve(p Plugin) {
	if os.Getenv(shellpb.CookieKey) != shellpb.CookieValue {
		byHand()
	}
	slog.SetDefault(logger)
	// A plugin that outlives its host must not die of the next line it logs.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)

	s := newServer(p, logger)
	g := &goPlugin{server: s}
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion:  shellpb.ProtocolVersion,
			MagicCookieKey:   shellpb.CookieKey,
			MagicCookieValue: shellpb.CookieValue,
		},
		Plugins:    plugin.PluginSet{"plugin": g},
		GRPCServer: s.newGRPC,
	})
	if !g.served {
		os.Exit(1) //nolint:forbidigo // go-plugin has logged why it can't listen, and returned
	}
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	_ = s.end(ctx, Shutdown) // logged there
}

func byHand() {
	program, err := filepath.Abs(os.Args[0])
	if err != nil {
		program = os.Args[0]
	}
	fmt.Fprintf(os.Stderr, `%s is a plugin: it is started by a Dormouse host, not by hand.
Name it in the host's configuration

	[[plugin]]
	callsign = "Mine"
	executable = %q

and then run: dormouse serve
`, filepath.Base(program), program)
	os.Exit(1) //nolint:forbidigo // Serve promises it
}

// goPlugin is a server as go-plugin wants it.
type goPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	server *server
	served bool
}

func (g *goPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	g.server.register(s)
	g.served = true
	// The first SIGTERM ends the plugin in order, a second one at once.
	terminated, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	context.AfterFunc(terminated, func() {
		stop()
		s.Stop()
	})
	return nil
}

func (g *goPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, fmt.Errorf("cannot use the plugin's end of the contract as the host's")
}
