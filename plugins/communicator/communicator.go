// Package communicator serves the host to native clients and to the plugins
// themselves, over gRPC: the host and its instances as services, and every
// plugin's own services by passing their frames on. It does not know what is in
// those frames, when an instance may change its state, or how a plugin runs.
package communicator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"dormouse/configs"
	"dormouse/plugins/controller/controllerpb"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol/statecontrolpb"
	"dormouse/supervisor"
)

// What clients may use at once.
const (
	mostClients = 128 // connections to the communicator socket
	mostOwn     = 16  // connections of a plugin to its host socket
	mostStreams = 256 // calls under way on one connection
	streamBytes = 256 << 10
	clientBytes = 1 << 20 // unread on one connection
)

// Options is what a Communicator is made of.
type Options struct {
	Supervisor *supervisor.Supervisor
	Log        zerolog.Logger
	// Version is the host's own, such as "v1.2.3" or a commit.
	Version string
	// Paths are an instance's directories.
	Paths func(configs.Plugin) *shellpb.Paths
	// Reload reads the configuration again, see supervisor.Reload.
	Reload func(context.Context) ([]string, error)
}

// Communicator serves any number of sockets: one to native clients and one to
// each running plugin.
type Communicator struct {
	Options
	clients  *gate
	native   *grpc.Server
	unlisten func()

	transitions feed[shell.Transition]
	subsystems  feed[[]supervisor.Subsystem]

	// pumps are the goroutines that a call leaves behind when it has ended before
	// them; they end at once.
	pumps sync.WaitGroup
	// leaving waits for the last calls of plugins that have ended.
	leaving sync.WaitGroup
}

// New returns a communicator that serves nobody yet. group is the one whose
// members may be native clients besides root and the host's own user.
func New(o Options, group Group) *Communicator {
	c := &Communicator{Options: o}
	c.clients = newGate(mostClients, o.Log, group.check)
	c.native = c.newServer(&endpoint{Communicator: c}, c.clients)
	c.unlisten = o.Supervisor.Listen(listener{c})
	return c
}

// Serve serves native clients until Close, which may come first.
func (c *Communicator) Serve(l net.Listener) error {
	if err := c.native.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("cannot serve native clients any longer: %w", err)
	}
	return nil
}

// ServeInstance serves the host socket of an instance: who connects to l is its
// plugin. The returned function cuts every connection. It does not wait for
// running calls, one of which may be waiting for whoever calls it.
func (c *Communicator) ServeInstance(callsign string, l net.Listener) (stop func()) {
	g := newGate(mostOwn, c.Log.With().Str("callsign", callsign).Logger(), nil)
	s := c.newServer(&endpoint{Communicator: c, own: callsign}, g)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l) // ended by Stop; if the listener fails the plugin finds out
	}()
	return func() {
		g.shut()
		s.Stop()
		<-served
		c.leaving.Go(s.GracefulStop)
	}
}

// Close refuses new calls of native clients and returns when none is running any
// more. When ctx ends before that, what is left is cut off and an error
// returned. Plugins are served on.
func (c *Communicator) Close(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.native.GracefulStop()
	}()
	c.transitions.end()
	c.subsystems.end()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	c.clients.shut()
	c.native.Stop()
	<-ended
	return fmt.Errorf("cannot end every call of native clients: %w", ctx.Err())
}

// Wait returns when nothing of the communicator runs any more. It is called
// after Close and when all plugins have ended.
func (c *Communicator) Wait() {
	c.unlisten()
	c.leaving.Wait()
	c.pumps.Wait()
}

func (c *Communicator) newServer(e *endpoint, g *gate) *grpc.Server {
	s := grpc.NewServer(
		grpc.Creds(g),
		grpc.ForceServerCodecV2(codec{}),
		grpc.UnknownServiceHandler(e.forward),
		grpc.MaxRecvMsgSize(shellpb.MaxMessage),
		grpc.MaxSendMsgSize(shellpb.MaxMessage),
		grpc.MaxConcurrentStreams(mostStreams),
		grpc.InitialWindowSize(streamBytes),
		grpc.InitialConnWindowSize(clientBytes),
		grpc.ConnectionTimeout(5*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(e.own == ""),
	)
	shellpb.RegisterShellServer(s, shellService{endpoint: e})
	statecontrolpb.RegisterStateControlServer(s, controlService{endpoint: e})
	if e.own == "" {
		controllerpb.RegisterControllerServer(s, controllerService{endpoint: e})
	}
	serving := health.NewServer()
	for name := range s.GetServiceInfo() {
		serving.SetServingStatus(name, grpc_health_v1.HealthCheckResponse_SERVING)
	}
	grpc_health_v1.RegisterHealthServer(s, serving)
	return s
}

// listener hears what happens in the host.
type listener struct{ c *Communicator }

var _ supervisor.Listener = listener{}

func (l listener) Transition(t shell.Transition)             { l.c.transitions.publish(t) }
func (l listener) Notification(string, shell.Notification)   {}
func (l listener) Subsystems(changed []supervisor.Subsystem) { l.c.subsystems.publish(changed) }
