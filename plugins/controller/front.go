// Package controller is the front for JSON-RPC: it speaks as Thunder does over HTTP
// and websocket, serves the methods of the callsign Controller itself and passes
// every other call on to its instance. It does not know how a plugin runs, when an
// instance may change its state or what a plugin's parameters mean.
package controller

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/internal/timelimit"
	"dormouse/plugins/access"
	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/peer"
	"dormouse/shell"
	"dormouse/supervisor"
)

// Options holds what New needs to make a Front.
type Options struct {
	// Host says which host names and web origins may be used to reach the front.
	Host configs.Host
	Log  zerolog.Logger
	// Access decides what each client may do; nil stands for a guard with default rules.
	Access *access.Guard
	// Version is the version of the host, such as "v1.2.3" or a commit.
	Version string

	// Mount is the one path outside of /Service/ that another part of the host serves.
	Mount Mount

	// Memory bounds the bytes of clients' messages; nil stands for no bounds.
	Memory *peer.Memory

	// Each function below may be nil. Methods that need it are then answered with
	// NotSupported, or with an empty result.

	// CanHibernate reports whether plugins can be hibernated on this host.
	CanHibernate func() bool
	// DroppedLogLines returns how many lines the log has dropped.
	DroppedLogLines func() int64
	// StoreHealth returns the state of the host's store.
	StoreHealth func() store.Health
	// BuiltinAccess returns the role that a caller needs for a method of a built-in
	// other than the Controller, access.None if clients may not call the method, and what
	// the call is about. Nil: clients may call no such method.
	BuiltinAccess func(*shell.Shell, shell.Call) (access.Role, access.Target)
	// RestartsOf returns how often the host started an instance again after it had
	// ended by itself.
	RestartsOf func(callsign string) int
	// WriteMetrics writes the metrics of other parts of the host.
	WriteMetrics func(MetricsWriter)
	// Proxies lists the interfaces of plugins that native clients use.
	Proxies func() []Proxy
	// Reload reads the configuration again and returns one line for each change.
	Reload func(context.Context) ([]string, error)
	// Reboot restarts the machine. Nil means by the command of the host's
	// configuration, else by systemd.
	Reboot func(context.Context) error
}

// Front serves JSON-RPC, REST and web pages. A supervisor must have been given the
// front's Builtin before the front serves the first request.
type Front struct {
	options      Options
	log          zerolog.Logger
	strangers    zerolog.Logger // for what any client can cause; it drops most lines of many
	limits       limits
	access       *access.Guard
	audit        *access.Audit
	browserGuard browserGuard
	dialect      dialect.Dialect // of clients for which neither the listener nor the URL names one
	mux          *http.ServeMux
	methods      map[string]*method // of the callsign Controller
	common       map[string]*method // of every callsign
	events       subscribers
	// snapshots is the state of each instance, for new subscribers.
	snapshots   stateSnapshots
	connections connections
	// callCounts is how many calls each instance got.
	callCounts counters
	// exitCounts is how often each plugin ended by itself, restartCounts how often
	// the host started it again.
	exitCounts, restartCounts counters
	tcp, control              entrance

	supervisor    *supervisor.Supervisor
	stopListening func() // to the supervisor
	stopGuarding  func() // ends to listen for changes of access

	ctx     context.Context // ends when Close has waited for the requests
	cancel  context.CancelFunc
	running sync.WaitGroup // requests; that of a websocket lasts as long as the websocket

	mu      sync.Mutex // guards closed and sockets
	closed  bool
	sockets map[*socket]bool
}

// New returns a front that serves no listener yet.
func New(o Options) *Front {
	if o.Reboot == nil {
		o.Reboot = rebootWith(o.Host.Reboot)
	}
	if o.Access == nil {
		o.Access = access.NewGuard(access.Rules{})
	}
	f := &Front{
		options:      o,
		log:          o.Log,
		strangers:    o.Log.Sample(&zerolog.BurstSampler{Burst: 5, Period: time.Minute}),
		limits:       defaultLimits(),
		access:       o.Access,
		audit:        access.NewAudit(o.Access, o.Log, "json-rpc"),
		browserGuard: newBrowserGuard(o.Host),
		dialect:      dialect.ByNameOrR4(o.Host.Dialect),
		sockets:      make(map[*socket]bool),
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.methods = methodsByNameAndAlias(controllerMethods())
	f.common = methodsByNameAndAlias(commonMethods())
	f.mux = f.routes()
	f.stopGuarding = f.access.Listen(f.endChangedConnections)
	return f
}

// Builtin returns the front as the built-in instance Controller for a supervisor. Once
// the supervisor has made the instance, the front listens to the supervisor.
func (f *Front) Builtin() supervisor.Builtin {
	return supervisor.Builtin{
		Callsign: configs.ControllerCallsign,
		Backend: func(s *supervisor.Supervisor, _ shell.Sink) shell.Backend {
			f.supervisor = s
			f.stopListening = s.Listen(f)
			return backend{f}
		},
	}
}

// WaitFirstRequests returns when each connection has brought its first request, or
// ctx has ended. An http.Server that shuts down closes connections without one, and
// loses requests that are on their way. The listeners must be closed before.
func (f *Front) WaitFirstRequests(ctx context.Context) {
	all := make(chan struct{})
	go func() {
		defer close(all)
		f.connections.beforeFirstRequest.Wait()
	}()
	select {
	case <-all:
	case <-ctx.Done():
	}
}

// Close sends every websocket a closing frame and returns when no request runs any
// more. If ctx ends first, Close cuts the rest off and returns an error. Afterwards the
// front serves nothing, and no longer listens to the supervisor.
func (f *Front) Close(ctx context.Context) error {
	defer f.stopGuarding()
	if f.stopListening != nil {
		defer f.stopListening()
	}
	f.mu.Lock()
	first := !f.closed
	f.closed = true
	for s := range f.sockets {
		if first {
			f.running.Go(s.closeGoingAway)
		}
	}
	f.mu.Unlock()

	ended := make(chan struct{})
	go func() {
		defer close(ended)
		f.running.Wait()
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		f.cutOffAllClients()
		return fmt.Errorf("cannot end every request: %w", timelimit.EndError(ctx))
	}
	f.cancel()
	return nil
}

// cutOffAllClients ends all calls and closes every websocket at once.
func (f *Front) cutOffAllClients() {
	f.cancel()
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.sockets {
		s.cutOff("the host ends")
	}
}

// beginRequestUnlessClosed counts a request as running and returns true; the caller must
// then call f.running.Done. Once the front is closed it returns false.
func (f *Front) beginRequestUnlessClosed() (begun bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.running.Add(1)
	return true
}
