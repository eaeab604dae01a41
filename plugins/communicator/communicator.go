// Package communicator is the front for gRPC: it serves native clients, and plugins
// on their host sockets. The host and its instances are services; calls of a
// plugin's own services are passed on frame by frame. It does not know what is in
// those frames, when an instance may change its state, or how a plugin runs.
package communicator

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/keepalive"

	"dormouse/configs"
	"dormouse/internal/http2room"
	"dormouse/internal/timelimit"
	"dormouse/plugins/access"
	"dormouse/plugins/controller/controllerpb"
	"dormouse/plugins/packager/packagerpb"
	"dormouse/plugins/peer"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol/statecontrolpb"
	"dormouse/supervisor"
)

// Limits of what clients and plugins may use at once.
var (
	nativeLimits = peer.Limits{All: 256, Share: 128, Reserve: 16, IdleAfter: time.Minute} // connections to one socket
	nativeCalls  = peer.Limits{All: 4096, Share: 2048, Reserve: 512}                      // calls of native clients
	pluginLimits = peer.Limits{All: 16, Share: 16}                                        // connections of one plugin
)

// Limits of one connection.
const (
	maxStreams       = 256      // calls on one connection
	streamWindow     = 64 << 10 // unread bytes of one call
	connectionWindow = 1 << 20  // unread bytes on one connection
	maxHeader        = 16 << 10 // bytes of the metadata of one call

	// maxReceived is the size in bytes of the largest message that the host itself refuses,
	// with Thunder's number. gRPC cuts larger ones off without a number.
	maxReceived = shellpb.MaxMessage + 1<<20
)

// cutTime is how long the end of a host waits for the answers to calls that it gives up.
const cutTime = 200 * time.Millisecond

// Options holds what New needs to make a Communicator.
type Options struct {
	Supervisor *supervisor.Supervisor
	Log        zerolog.Logger
	// Access decides what each client may do; nil stands for a guard with default rules.
	Access *access.Guard
	// Memory bounds the bytes of clients' messages; nil stands for no bounds.
	Memory *peer.Memory
	// Room is the memory of long messages while they arrive; nil stands for no bounds.
	Room *http2room.Room
	// NeededRole returns the role that the JSON-RPC method of that name needs, or with write
	// the writing of its variable; access.None for an unknown method.
	NeededRole func(method string, write bool) access.Role
	// TargetOf returns what a call of the JSON-RPC method of that name is about: the
	// instance, or with an empty callsign the host.
	TargetOf func(callsign, method string) access.Target
	// BuiltinAccess returns the role that a caller needs for a method of a built-in, access.None
	// if clients may not call the method, and what the call is about.
	BuiltinAccess func(*shell.Shell, shell.Call) (access.Role, access.Target)
	// PackagerAccess is BuiltinAccess for the built-in Packager, by its callsign. Nil: clients may
	// call none of its methods.
	PackagerAccess func(callsign string, c shell.Call) (access.Role, access.Target)
	// Flows returns the service that takes messages of the plugin of that callsign, or with ""
	// of native clients. Nil: the host has no flows.
	Flows func(publisher string) shellpb.FlowsServer
	// Services are those that other parts of the host serve.
	Services []HostService
	// Version is the version of the host, such as "v1.2.3" or a commit.
	Version string
	// Paths returns the directories of an instance. Nil: no status has any.
	Paths func(configs.Plugin) *shellpb.Paths
	// Reload reads the configuration again and returns one line for each change. Nil:
	// the method Reload is answered with errors.ErrUnsupported.
	Reload func(context.Context) ([]string, error)
}

// Communicator serves any number of sockets: one to native clients, and one to each
// running plugin.
type Communicator struct {
	Options
	audit         *access.Audit
	natives       []*NativeServer // the first serves the unix socket
	callLimits    peer.Limits
	callPlaces    peer.Places // of calls of native clients
	stopListening func()      // to the supervisor
	stopGuarding  func()      // ends to listen for changes of access

	transitions watchers[shell.Transition]
	subsystems  watchers[[]supervisor.Subsystem]
	events      watchers[eventReport]

	// cut ends when the calls that still run are to be given up, because the host ends.
	cut      context.Context
	cutCalls context.CancelFunc

	// pumps waits for the goroutines that send messages, which may outlive their call
	// for a moment.
	pumps sync.WaitGroup
	// stopping waits for the last calls of plugins that have ended.
	stopping sync.WaitGroup
}

// New returns a communicator that serves no socket yet, and listens to the supervisor
// until StopListeningAndWait. The members of group may be native clients of the unix
// socket, besides root and the host's own user.
func New(o Options, group Group) *Communicator {
	if o.Access == nil {
		o.Access = access.NewGuard(access.Rules{})
	}
	o.Services = append(slices.Clip(o.Services), virtualsHostService(o.Supervisor), typesHostService(o.Supervisor))
	c := &Communicator{Options: o, callLimits: nativeCalls, audit: access.NewAudit(o.Access, o.Log, "grpc")}
	c.events.size = eventReport.size
	c.cut, c.cutCalls = context.WithCancel(context.Background())
	c.addNativeServer(identifyNative(group), nil)
	c.stopListening = o.Supervisor.Listen(supervisorListener{c})
	c.stopGuarding = o.Access.Listen(func() {
		for _, n := range c.natives {
			n.connections.closeChanged(o.Access)
		}
	})
	return c
}

// NativeServer serves the native clients of one socket.
type NativeServer struct {
	connections *connectionList
	server      *grpc.Server
}

// AddTCPServer returns a server for native clients over TCP, which show a token or a
// certificate unless they run as local users. Connections are encrypted if config is not
// nil. It must be called before anything is served.
func (c *Communicator) AddTCPServer(config *tls.Config) *NativeServer {
	return c.addNativeServer(identifyOverTCP, config)
}

// addNativeServer adds a server for native clients that identify finds out. Connections are
// encrypted if config is not nil.
func (c *Communicator) addNativeServer(identify identifier, config *tls.Config) *NativeServer {
	n := &NativeServer{connections: newConnectionList(nativeLimits, c.Log, identify, config)}
	n.connections.memory, n.connections.room = c.Memory, c.Room
	n.server = c.newServer(&endpoint{Communicator: c}, n.connections)
	c.natives = append(c.natives, n)
	return n
}

// ServeNative serves native clients of the unix socket, see NativeServer.Serve.
func (c *Communicator) ServeNative(l net.Listener) error { return c.natives[0].Serve(l) }

// Serve serves native clients until StopServingNative, and then returns nil.
// StopServingNative may come first. If l fails, Serve returns the error.
func (n *NativeServer) Serve(l net.Listener) error {
	if err := n.server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
		return fmt.Errorf("cannot serve native clients any longer: %w", err)
	}
	return nil
}

// ServeInstance starts to serve the host socket of an instance: every connection to l
// is its plugin's. stop closes l and all connections. It does not wait for running
// calls, one of which may itself wait for the caller of stop.
func (c *Communicator) ServeInstance(callsign string, l net.Listener) (stop func()) {
	p := newConnectionList(pluginLimits, c.Log.With().Str("callsign", callsign).Logger(), identifyPlugin(callsign), nil)
	p.memory, p.room = c.Memory, c.Room
	s := c.newServer(&endpoint{Communicator: c, ownCallsign: callsign}, p)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l) // Stop ends it; if the listener fails, the plugin notices
	}()
	return func() {
		p.closeAllAndRefuseNew()
		s.Stop()
		<-served
		c.stopping.Go(s.GracefulStop)
	}
}

// StopServingNative ends the watches of native clients, refuses their new calls and
// returns when none of their calls runs any more. If ctx ends first, StopServingNative
// cuts the rest off and returns an error. Plugins are served on.
func (c *Communicator) StopServingNative(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		var all sync.WaitGroup
		for _, n := range c.natives {
			all.Go(n.server.GracefulStop)
		}
		all.Wait()
	}()
	c.transitions.endNativeWatchers()
	c.subsystems.endNativeWatchers()
	c.events.endNativeWatchers()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
	}
	c.cutCalls()
	select { // each call is told
	case <-ended:
	case <-time.After(cutTime):
	}
	for _, n := range c.natives {
		n.connections.closeAllAndRefuseNew()
		n.server.Stop()
	}
	<-ended
	return fmt.Errorf("cannot end every call of native clients: %w", timelimit.EndError(ctx))
}

// StopListeningAndWait ends listening to the supervisor, and returns when no goroutine of
// the communicator runs any more. It is called after StopServingNative, once all plugins
// have ended.
func (c *Communicator) StopListeningAndWait() {
	c.cutCalls()
	c.stopListening()
	c.stopGuarding()
	c.stopping.Wait()
	c.pumps.Wait()
}

// newServer returns the gRPC server of a socket, with the host's services. Only native
// clients get the Controller's. Calls of unknown services are forwarded to plugins.
func (c *Communicator) newServer(e *endpoint, connections *connectionList) *grpc.Server {
	s := grpc.NewServer(
		grpc.Creds(connections),
		grpc.ForceServerCodecV2(codec{}),
		grpc.UnknownServiceHandler(countingStream(numberedStream(e.forwardToInstance))),
		grpc.MaxRecvMsgSize(maxReceived),
		grpc.MaxSendMsgSize(shellpb.MaxMessage),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connectionWindow),
		grpc.MaxHeaderListSize(maxHeader),
		grpc.ConnectionTimeout(5*time.Second),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.WaitForHandlers(e.ownCallsign == ""),
		grpc.InTapHandle(e.stampCallerAndTakePlace),
	)
	guarded := guardedRegistrar{numberedRegistrar{s}, e}
	shellpb.RegisterShellServer(guarded, shellService{endpoint: e})
	statecontrolpb.RegisterStateControlServer(guarded, stateControlService{endpoint: e})
	if c.Flows != nil {
		shellpb.RegisterFlowsServer(guarded, c.Flows(e.ownCallsign))
	}
	for _, s := range c.Services {
		guarded.RegisterService(s.Desc, s.Server)
	}
	if e.ownCallsign == "" {
		controllerpb.RegisterControllerServer(guarded, controllerService{endpoint: e})
		packagerpb.RegisterPackagerServer(guarded, packagerService{endpoint: e})
	}
	grpc_health_v1.RegisterHealthServer(guarded, healthService{endpoint: e})
	e.hostServices = registerReflection(s, guarded, e)
	return s
}

// supervisorListener passes the supervisor's reports on to watchers.
type supervisorListener struct{ c *Communicator }

var _ supervisor.Listener = supervisorListener{}

// Transition queues the change of an instance's state for the watchers that want it. The
// end of an instance ends the watchers of its events.
func (l supervisorListener) Transition(t shell.Transition) {
	l.c.transitions.publishAndEndSlow(t)
	if t.To == shell.Destroyed {
		l.c.events.publishAndEndSlow(eventReport{callsign: t.Callsign, destroyed: true})
	}
}

// Notification queues an event of an instance for the watchers that want it.
func (l supervisorListener) Notification(callsign string, n shell.Notification) {
	l.c.events.publishAndEndSlow(eventReport{callsign: callsign, notification: n})
}

// Roster does nothing: native clients learn of new instances by their states.
func (l supervisorListener) Roster(supervisor.RosterChange) {}

// Subsystems queues the subsystems that changed for the watchers of subsystems.
func (l supervisorListener) Subsystems(changed []supervisor.Subsystem) {
	l.c.subsystems.publishAndEndSlow(changed)
}
