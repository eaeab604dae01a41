// Package controller is the front: the only part of the host that talks to the
// network. It speaks JSON-RPC as Thunder does over HTTP and websocket, serves
// the methods of the callsign Controller itself and passes every other call to
// its instance. It does not know how a plugin runs, when an instance may change
// its state or what a plugin's parameters mean.
package controller

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/plugins/controller/dialect"
	"dormouse/shell"
	"dormouse/supervisor"
)

// Options is what a Front is made of.
type Options struct {
	// Host says which names and origins may be used to reach the front.
	Host configs.Host
	Log  zerolog.Logger
	// Version is the host's own, such as "v1.2.3" or a commit.
	Version string

	// What the front can only pass on. Where one is nil, the host has nothing of
	// the kind, and a method that needs it is not supported.

	// Hibernates tells whether plugins can be hibernated here.
	Hibernates func() bool
	// Restarts is how often an instance was started again after it had ended by
	// itself.
	Restarts func(callsign string) int
	// Proxies lists what native clients hold of plugins.
	Proxies func() []Proxy
	// Reload reads the configuration again and returns what it changed.
	Reload func(context.Context) ([]string, error)
	// Reboot restarts the machine; nil means as the configuration of the host
	// says.
	Reboot func(context.Context) error
}

// Front serves the network. It must be handed to a supervisor by Builtin before
// it serves the first request.
type Front struct {
	options Options
	log     zerolog.Logger
	version string
	limits  limits
	guard   browserGuard
	dialect dialect.Dialect // where neither listener nor connection says which
	mux     *http.ServeMux
	methods map[string]*method // of the callsign Controller
	common  map[string]*method // of every callsign
	events  subscribers
	// standing is where the instances stand, for newcomers among the subscribers.
	snapshots   snapshots
	connections connections
	// processed counts the calls to each instance.
	processed counters
	// exits and restarts of each instance that nobody asked for.
	exits, restarts counters
	// queues is what the outboxes of all websockets share.
	queueBudget queueBudget
	// connections of HTTP that are open, not counting websockets.
	httpConnections atomic.Int64

	supervisor    *supervisor.Supervisor
	stopListening func()

	ctx     context.Context // ends when Close won't wait any longer
	cancel  context.CancelFunc
	running sync.WaitGroup // requests, which last as long as their websocket

	mu      sync.Mutex // guards what follows
	closed  bool
	sockets map[*socket]bool
}

// New returns a front that serves nobody yet.
func New(o Options) *Front {
	if o.Reboot == nil {
		o.Reboot = rebootWith(o.Host.Reboot)
	}
	f := &Front{
		options: o,
		log:     o.Log,
		version: o.Version,
		limits:  defaultLimits(),
		guard:   newBrowserGuard(o.Host),
		dialect: dialect.OfListener(o.Host.Dialect),
		sockets: make(map[*socket]bool),
	}
	f.ctx, f.cancel = context.WithCancel(context.Background())
	f.queueBudget.left.Store(f.limits.allQueues)
	f.methods = indexByName(controllerMethods())
	f.common = indexByName(commonMethods())
	f.mux = f.routes()
	return f
}

// Builtin is the front as an instance of a supervisor's.
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

// Arrived returns when each connection has brought its first request, or when ctx
// has ended: a server that is shut down looks at none that comes later. Nothing may
// be accepted any more.
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

// Close bids every websocket farewell and returns when no request is running
// any more. When ctx ends before that, what is left is cut off and an error
// returned. Nothing is served afterwards.
func (f *Front) Close(ctx context.Context) error {
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
		f.cutOffAll()
		return fmt.Errorf("cannot end every request: %w", ctx.Err())
	}
	f.cancel()
	return nil
}

func (f *Front) cutOffAll() {
	f.cancel()
	f.mu.Lock()
	defer f.mu.Unlock()
	for s := range f.sockets {
		s.cutOff("the host ends")
	}
}

// enter counts a request as running until f.running.Done; it refuses once the
// front is closed.
func (f *Front) beginRequest() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	f.running.Add(1)
	return true
}
