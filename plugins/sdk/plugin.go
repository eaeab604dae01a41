// Package sdk is for authors of plugins. A plugin is a Go type with two methods,
// Initialize and Deinitialize, which main passes to Serve. It can do more by
// implementing Describer, Dispatcher, Processor, TaskRunner, Suspender, BeforeCheckpointer,
// AfterRestorer, WebServer, VirtualOperator or Registrar; Serve checks for these interfaces once,
// when it starts.
//
// The host may hibernate a plugin whenever the plugin is suspended and no call is
// running. Its process, with all its children and threads, is then stored as files
// and later restored, with its memory as it was. Meanwhile timers and monotonic
// time stand still; wall time jumps. Connections to other processes are lost,
// except the connection to the host, which the package closes and opens again. A
// process that has an io_uring ring or a file below /proc/<pid> open can't be
// hibernated.
//
// A plugin reaches the host through Instance.Host: it can see and operate other
// instances, read and set subsystems, and call other plugins.
//
// The smallest complete plugin is dormouse/plugins/examples/echo.
//
// The package knows the contract between host and plugin, and nothing else of the
// host.
package sdk

import (
	"context"
	"time"

	"google.golang.org/grpc"
)

// Plugin is the interface that every plugin must implement.
type Plugin interface {
	// Initialize prepares the plugin for calls. The host calls it once, before
	// every other method except Information, Methods and Register. The plugin may
	// keep in. ctx ends when Initialize returns, so goroutines that run on must not
	// use it. If Initialize returns an error, its text is shown to the client that
	// activated the instance, and the process ends without Deinitialize. With a
	// warm start, a restored process begins after Initialize; see Wake.
	Initialize(ctx context.Context, in *Instance) error
	// Deinitialize frees what the plugin holds. The host calls it once, if
	// Initialize succeeded and the process is not killed. No call of a client
	// follows. The process ends afterwards, even if Deinitialize returns an error,
	// which is only logged.
	Deinitialize(ctx context.Context, why Reason) error
}

// Describer is a plugin that describes itself. The host uses the program's name for
// others.
type Describer interface {
	// Information returns the description. Serve calls it once, before Initialize.
	Information() Information
}

// Dispatcher is a plugin with methods that clients and other plugins can call.
type Dispatcher interface {
	// Methods returns the methods by name. Serve calls it once, before Initialize.
	// The host calls the methods themselves after Initialize has returned, several
	// at a time.
	Methods() Methods
}

// Processor is a plugin that processes the messages of flows, which its package declares.
type Processor interface {
	// Process works on one message of a flow, and returns its results. The host calls it
	// after Initialize, with the messages of one flow in order and one at a time, unless
	// the flow is declared as parallel; those of several flows come side by side.
	//
	// The host takes the message out of the queue and puts the results into theirs in one
	// step, when Process has returned. A message may come a second time, and does if the
	// plugin or the host ends before that.
	//
	// After an error the host tries again, with pauses that grow, and puts the message
	// among the dead letters after as many attempts as the flow says. An *Error with the
	// code InvalidParameter puts it there at once; with Unavailable the plugin says that it
	// can't process messages now: the message waits, and the attempt does not count.
	Process(ctx context.Context, flow string, m Message) ([]Message, error)
}

// Suspender is a plugin that can be suspended and resumed. Only such a plugin can
// be hibernated. After Initialize it is suspended. Suspend and Resume are called
// alternately and one at a time; after an error the plugin is in the same state as
// before. A suspended plugin still answers calls.
type Suspender interface {
	Suspend(ctx context.Context) error
	Resume(ctx context.Context) error
}

// BeforeCheckpointer is a plugin that must do something before it is hibernated,
// such as dropping secrets or closing connections.
type BeforeCheckpointer interface {
	// BeforeCheckpoint is called while no other call is running. If it returns an
	// error, the plugin is not hibernated.
	BeforeCheckpoint(ctx context.Context) error
}

// AfterRestorer is a plugin that must do something after it was hibernated, such as
// dialing again, renewing leases or seeding random generators anew.
type AfterRestorer interface {
	// AfterRestore is called after a sleep and in a warm start, before any call of
	// a client. It is also called when the process simply runs on after
	// BeforeCheckpoint: because the hibernation failed, or because only the image
	// for warm starts was made.
	AfterRestore(ctx context.Context, w Wake) error
}

// Registrar is a plugin with gRPC services of its own. Clients and other plugins
// call them through the host.
type Registrar interface {
	// Register registers the services with r. Serve calls it once, before
	// Initialize.
	Register(r grpc.ServiceRegistrar)
}

// Wake describes the sleep or the warm start that AfterRestore is called for.
type Wake struct {
	// Generation is a number that grows with every checkpoint and every warm start
	// of the instance.
	Generation uint64
	// Slept is how long the plugin slept, in wall time. It is 0 when the process
	// ran on because the checkpoint failed.
	Slept time.Duration
	// Warm reports whether this is a warm start: a new life of the plugin, which
	// begins after the Initialize of an earlier process. Several lives may begin
	// there, so AfterRestore must renew everything that two lives must not share.
	// Warm starts are enabled by the operator's key warm-start.
	Warm bool
}

// Information is a plugin's description of itself.
type Information struct {
	// Name is the name of the program, not of the instance. If it is empty, Serve
	// uses the executable's name.
	Name        string
	Description string
	Version     Version
	// Preconditions are the subsystems, such as "Network", that must all be up
	// before the plugin is activated.
	Preconditions []string
	// Terminations are the states of subsystems, such as "!Network", of which each
	// one ends the plugin until its preconditions hold again.
	Terminations []string
	// Controls are the subsystems that the plugin sets with Host.SetSubsystem.
	Controls []string
	// Profile is what others find the plugin by.
	Profile Profile
	// MaxWebBody is how many bytes the body of an HTTP request to the plugin may have; 0
	// stands for 32 MiB. See WebServer.
	MaxWebBody uint64
	// Tasks are how the host treats tasks of the plugin, see TaskRunner.
	Tasks TaskRules
}

// Version is a plugin's version.
type Version struct{ Major, Minor, Patch uint32 }

// Reason is why the state of an instance changes.
type Reason string

// All reasons. Deinitialize is never called with the last two.
const (
	Requested            Reason = "requested"
	Automatic            Reason = "automatic"
	Failure              Reason = "failure"
	MemoryExceeded       Reason = "memory exceeded"
	Startup              Reason = "startup"
	Shutdown             Reason = "shutdown"
	Conditions           Reason = "conditions"
	WatchdogExpired      Reason = "watchdog expired"
	InitializationFailed Reason = "initialization failed"
	InstantiationFailed  Reason = "instantiation failed"
)
