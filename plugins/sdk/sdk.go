// Package sdk is what a plugin is written with. A plugin is a type with two
// methods, handed to Serve by main; what else it can do it shows by
// implementing Describer, Dispatcher, Suspender, BeforeCheckpointer,
// AfterRestorer or Registrar. Serve asks for these once, at its start.
//
// A plugin may be hibernated whenever it is suspended and no call is running:
// its process, with all its children and threads, becomes a file and comes
// back later, in memory as it was. Timers and monotonic time stand still
// meanwhile; wall time jumps. Connections to other processes are lost, save the
// one to the host, which the package closes and makes again. A plugin must not
// keep io_uring rings or files below /proc/<pid> open: such a process can't be
// hibernated.
//
// What the host offers in turn is Instance.Host: the state of other instances
// and power over them, the subsystems, and calls of other plugins.
//
// The smallest complete plugin is dormouse/plugins/examples/echo.
//
// The package knows the contract and not the host: nothing here depends on
// how, or by what, the plugin was started.
package sdk

import (
	"context"
	"time"

	"google.golang.org/grpc"
)

// Plugin is what every plugin must implement.
type Plugin interface {
	// Initialize is called once and before everything else; it may keep in. A warm
	// start begins after it, see Wake. The text of an error is shown to whoever
	// wanted the plugin started, and the process then ends without Deinitialize. ctx
	// ends with the call, so what runs on afterwards must not depend on it.
	Initialize(ctx context.Context, in *Instance) error
	// Deinitialize is called once after an Initialize that succeeded, unless
	// the process is killed. No call of a user follows. The process ends
	// afterwards, whatever Deinitialize returns; an error is only logged.
	Deinitialize(ctx context.Context, why Reason) error
}

// Describer is a plugin that says more of itself than its program's name.
type Describer interface {
	// Information may be called before Initialize.
	Information() Information
}

// Dispatcher is a plugin with methods that users call.
type Dispatcher interface {
	// Methods is called once, before Initialize. The methods themselves are
	// called in parallel, and never before Initialize has returned.
	Methods() Methods
}

// Suspender is a plugin that can be suspended and resumed, which it must be
// able to if it is to be hibernated. It starts suspended. Suspend and Resume
// are called in turns and one at a time; after an error the plugin is where it
// was. A suspended plugin still answers calls.
type Suspender interface {
	Suspend(ctx context.Context) error
	Resume(ctx context.Context) error
}

// BeforeCheckpointer is a plugin with something to do before it is hibernated:
// drop secrets, end connections in order.
type BeforeCheckpointer interface {
	// BeforeCheckpoint is called when no call is running. An error refuses the
	// hibernation.
	BeforeCheckpoint(ctx context.Context) error
}

// AfterRestorer is a plugin with something to do after it was hibernated: dial
// again, renew leases, reseed what must differ.
type AfterRestorer interface {
	// AfterRestore is called before the first call of a user after a sleep and in a
	// warm start, and also when the plugin runs on after BeforeCheckpoint: a
	// hibernation failed, or the image for warm starts was made.
	AfterRestore(ctx context.Context, w Wake) error
}

// Registrar is a plugin that serves gRPC services of its own, which native
// clients reach through the host.
type Registrar interface {
	// Register is called once, before Initialize.
	Register(r grpc.ServiceRegistrar)
}

// Wake tells a plugin how it was hibernated.
type Wake struct {
	// Generation grows with every checkpoint and every warm start of the instance.
	Generation uint64
	// Slept is wall time, 0 when the checkpoint failed and the plugin never
	// slept.
	Slept time.Duration
	// Warm tells that this is a new life, which begins where Initialize had
	// returned in an earlier one. Others may begin there too: what must not be the
	// same in two lives must be made anew. See the operator's key warm-start.
	Warm bool
}

// Information is what a plugin says of itself.
type Information struct {
	// Name is the program's own, not the instance's. Serve fills in the
	// executable's when it is empty.
	Name        string
	Description string
	Version     Version
	// Preconditions are subsystems, such as "Network", all of which must be up
	// before the plugin is activated.
	Preconditions []string
	// Terminations are subsystem states, such as "!Network", any of which ends
	// the plugin until its preconditions hold again.
	Terminations []string
	// Controls are the subsystems that the plugin sets with Host.SetSubsystem.
	Controls []string
}

// Version is a plugin's own version.
type Version struct{ Major, Minor, Patch uint32 }

// Reason tells why the state of an instance changes.
type Reason string

// The reasons there are. Deinitialize is not called with the last two.
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
