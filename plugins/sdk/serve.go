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

// deinitializeTimeout limits Deinitialize when the process ends without the host
// having called it.
const deinitializeTimeout = 5 * time.Second

// Serve runs the plugin p until the host ends it, or until the process gets
// SIGTERM. main should return after Serve. Serve ignores SIGINT, which is meant for
// a host in the same terminal. In a process that was not started by a host, Serve
// prints how to start the plugin to standard error and exits with status 1.
func Serve(p Plugin) {
	if os.Getenv(shellpb.CookieKey) != shellpb.CookieValue {
		printStartHelpAndExit()
	}
	slog.SetDefault(logger)
	// A plugin may outlive its host. Unless it catches SIGPIPE, the next line that it
	// logs would then kill it.
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
		GRPCServer: s.newGRPCServer,
	})
	if !g.served {
		os.Exit(1) //nolint:forbidigo // go-plugin has logged why it can't listen, and returned
	}
	ctx, cancel := context.WithTimeout(context.Background(), deinitializeTimeout)
	defer cancel()
	_ = s.deinitializeOnce(ctx, Shutdown) // deinitializeOnce has logged the error
}

// printStartHelpAndExit prints how a host is configured to start this plugin, and ends
// the process with status 1.
func printStartHelpAndExit() {
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

// goPlugin gives the server to go-plugin.
type goPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	server *server
	served bool
}

// GRPCServer registers the plugin's services on s, which SIGTERM stops from then on.
func (g *goPlugin) GRPCServer(_ *plugin.GRPCBroker, s *grpc.Server) error {
	g.server.registerAndListServices(s)
	g.served = true
	// The first SIGTERM ends the plugin with Deinitialize, a second one at once.
	terminated, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	context.AfterFunc(terminated, func() {
		stop()
		s.Stop()
	})
	return nil
}

// GRPCClient returns an error: it is for the host's end of the contract.
func (g *goPlugin) GRPCClient(context.Context, *plugin.GRPCBroker, *grpc.ClientConn) (any, error) {
	return nil, fmt.Errorf("cannot use the plugin's end of the contract as the host's")
}
