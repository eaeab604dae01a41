package shell

import (
	"context"
	"encoding/json"
	"time"

	"google.golang.org/grpc"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/statecontrol"
)

// Backend runs one plugin. Its shell calls Launch, Initialize, Deinitialize,
// Stop and a Hibernator's methods one at a time; Invoke, Exists and Facts may
// be called at any time and in parallel.
type Backend interface {
	// Configure replaces what the backend was made with. It is called only while
	// nothing runs and no image exists.
	Configure(c configs.Plugin)
	// Launch starts the plugin and returns what it says of itself. The error
	// wraps ErrInstantiation; Stop is called after it.
	Launch(ctx context.Context) (Information, error)
	// Initialize hands the plugin its configuration. The error wraps
	// ErrInitialization and holds the plugin's own text; Stop is called after
	// it.
	Initialize(ctx context.Context) error
	// Deinitialize tells the plugin that its work is over.
	Deinitialize(ctx context.Context, why Reason) error
	// Stop ends whatever Launch or Wake started and returns when nothing of it
	// is left. It may be called at any time and twice.
	Stop(ctx context.Context) error
	// Invoke runs one method of the plugin.
	Invoke(ctx context.Context, c Call) (json.RawMessage, error)
	// Exists tells whether the plugin has the method.
	Exists(ctx context.Context, method string) (bool, error)
	// Facts is what can be seen of the running plugin now.
	Facts() Facts
}

// Prober is a Backend that can ask its plugin what it needs without activating
// it.
type Prober interface {
	// Probe starts the program if it must, asks it and ends it again. It is called
	// before every activation and only while nothing runs; a program that is the
	// same as before is not started again. The error wraps ErrInstantiation.
	Probe(ctx context.Context) (Information, error)
	// Recall is what Probe would return if that is known: it starts nothing.
	Recall() (info Information, known bool)
}

// Connector is a Backend whose plugin serves gRPC.
type Connector interface {
	// Conn is the connection to whatever process runs the plugin; it is the same
	// for as long as the backend exists. Calls fail with UNAVAILABLE while there
	// is no process.
	Conn() grpc.ClientConnInterface
}

// Witness is a Backend that can tell more about the end of its plugin.
type Witness interface {
	// Evidence is called before Stop, while or after the plugin ends.
	Evidence() Evidence
}

// Evidence is what is known of a plugin's end.
type Evidence struct {
	// Exit says how the process ended, empty while it runs.
	Exit string
	// PID is the program's as the host sees or saw it, 0 when there was none;
	// Begun is when its process was started or woken.
	PID   int
	Begun time.Time
	// Core is the file that the process left of its memory, empty when none can be
	// told.
	Core string
	// Log holds the last lines that the plugin wrote, oldest first.
	Log []string
	// Files are texts by name, such as what /proc/<pid>/status said.
	Files map[string]string
}

// Hibernator is a Backend that can put its plugin to sleep, on disk or in place.
type Hibernator interface {
	// Hibernate leaves an image and no process, or one that does not run and an
	// Image that is InPlace, or else an error and the plugin unharmed. The error
	// wraps ErrExited when the plugin did not survive it.
	Hibernate(ctx context.Context) error
	// Ready is what keeps the image from being woken for now, nil for nothing: the
	// plugin sleeps on then.
	Ready(ctx context.Context) error
	// Wake brings the plugin back from its image. After an error there is
	// neither a process nor an image that could be used.
	Wake(ctx context.Context) (Information, error)
	// Drop gives the image up; the instance is then as if it had been stopped.
	Drop(ctx context.Context) error
	// Image is the committed image, nil when there is none.
	Image() *hibernate.Image
	// Progress is how far a running Hibernate or Wake has come.
	Progress() Progress
}

// Deepener is a Hibernator whose plugin can go from sleep in place to an image on
// disk.
type Deepener interface {
	// Deepen is called while the Image is InPlace. After an error the plugin sleeps
	// as before, unless the error wraps ErrExited, or ErrAwake when it could not be
	// put back to sleep.
	Deepen(ctx context.Context) error
}

// Sink is how a backend tells its shell what happens by itself. Its methods
// may be called from any goroutine and don't block for long.
type Sink interface {
	// Exited must be called once when a plugin ends that nobody asked to end,
	// never after the Stop that cleared it away has returned. The error wraps
	// ErrMemoryExceeded if that is why.
	Exited(err error)
	// Notify passes an event of the plugin on.
	Notify(n Notification)
	// ControlChanged passes a change of the state control on.
	ControlChanged(s statecontrol.State)
}

// Information is what a plugin says of itself, and what it can do.
type Information struct {
	Class       string
	Description string
	Version     Version
	// Services are the full names of the gRPC services that it serves.
	Services []string
	// Preconditions, Terminations and Controls are subsystems, as in
	// configs.Plugin.
	Preconditions, Terminations, Controls []string
	// StateControl is nil when the plugin has none.
	StateControl statecontrol.Controller
}

// Version is a plugin's own version.
type Version struct {
	Major uint32 `json:"major"`
	Minor uint32 `json:"minor"`
	Patch uint32 `json:"patch"`
}

// Call is one method call on its way to a plugin.
type Call struct {
	// Method has neither callsign nor version.
	Method string
	// Index is what followed "@", empty when nothing did.
	Index string
	// Params is JSON, nil when the caller gave none.
	Params json.RawMessage
}

// Notification is an event that a plugin sends to its subscribers.
type Notification struct {
	Event string
	// Index limits the event to subscribers of it; empty means all.
	Index string
	// Params is JSON, nil when there is none.
	Params json.RawMessage
}

// Facts is what the system says of a running plugin.
type Facts struct {
	// PID of the plugin's program as the host sees it, 0 when there is none.
	PID int
	// Root is the process of the host's below which the program and all that it
	// started run, 0 when there is none.
	Root int
	// Memory is the proportional set size of the whole tree in bytes.
	Memory int64
	// Charged is what the kernel counts for the tree's cgroup in bytes, with the
	// files that it holds in memory; 0 without a cgroup.
	Charged int64
	// Loading is how much of its memory has come in since the wake, zero once all
	// is there.
	Loading Progress
}

// Progress counts bytes; Total is an estimate, 0 when nothing is running.
type Progress struct {
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
}
