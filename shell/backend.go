package shell

import (
	"context"
	"encoding/json"
	"reflect"
	"time"

	"google.golang.org/grpc"

	"dormouse/hibernate"
	"dormouse/statecontrol"
)

// Backend runs one plugin. The shell calls Launch, Initialize, Deinitialize and
// Stop one at a time; it may call Invoke, Exists and ProcessFigures at any time and in
// parallel. A backend without the methods of Process is part of the host.
type Backend interface {
	// Launch starts the plugin and returns the plugin's description of itself. The
	// error wraps ErrInstantiation; the shell calls Stop after an error.
	Launch(ctx context.Context) (Information, error)
	// Initialize gives the plugin its configuration. The error wraps
	// ErrInitialization and holds the plugin's own text; the shell calls Stop after an
	// error.
	Initialize(ctx context.Context) error
	// Deinitialize tells the plugin that its work is over.
	Deinitialize(ctx context.Context, why Reason) error
	// Stop ends all that was started for the plugin and returns when nothing of it is
	// left. An image on disk stays. The shell may call Stop at any time, also twice.
	Stop(ctx context.Context) error
	// Invoke runs one method of the plugin.
	Invoke(ctx context.Context, c Call) (json.RawMessage, error)
	// Exists reports whether the plugin has the method.
	Exists(ctx context.Context, method string) (exists bool, err error)
	// ProcessFigures returns the process IDs and the memory use of the running plugin.
	ProcessFigures() ProcessFigures
}

// Process is a Backend that runs a program in processes of its own: the plugin can be
// probed, hibernated, started from a golden image, and left to the next host. The shell
// calls the methods one at a time, except Conn, Evidence, LogLines, Sleep,
// HibernationObstacle, HibernationProgress and GoldenImage.
type Process interface {
	Backend

	// Conn returns the gRPC connection to the plugin. The connection stays the same
	// across restarts of the plugin; calls on it fail with UNAVAILABLE while the plugin
	// does not run.
	Conn() grpc.ClientConnInterface
	// ProbeProgram returns the program's description of itself, and starts the program
	// for that if the program has changed since the last time. The shell calls
	// ProbeProgram only while the plugin neither runs nor sleeps. The error wraps
	// ErrInstantiation.
	ProbeProgram(ctx context.Context) (Information, error)
	// KnownInformation returns the description that ProbeProgram would return, if it is
	// known without starting the program.
	KnownInformation() (info Information, known bool)
	// Evidence collects exit, log and /proc files of a plugin that ends, for the
	// post-mortem. The shell calls it before Stop.
	Evidence() Evidence
	// ExistsIn is Exists for a virtual plugin of the plugin. The shell may call it at any time.
	ExistsIn(ctx context.Context, callsign, method string) (exists bool, err error)
	// LogLines returns the last lines that the plugin has written since that time, oldest first,
	// also those of a plugin that has ended.
	LogLines(since time.Time) []string

	// Hibernate puts the plugin to sleep, on disk or in place. After an error the
	// plugin runs as before, unless the error wraps ErrExited.
	Hibernate(ctx context.Context) error
	// HibernationObstacle returns an obstacle that is certain to make Hibernate fail now,
	// or nil. It changes nothing and does not find every obstacle. The error wraps
	// hibernate.ErrObstacle, or names what the host lacks.
	HibernationObstacle() (obstacle error)
	// HibernationProgress returns how far a running Hibernate or Wake has come.
	HibernationProgress() Progress
	// Sleep returns a description of the plugin's sleep, nil while it does not sleep.
	Sleep() *Sleep
	// MoveToDisk turns a sleep in place into an image on disk. After an error the
	// plugin sleeps in place as before, unless the error wraps ErrExited, or ErrAwake
	// when the plugin could not be put back to sleep.
	MoveToDisk(ctx context.Context) error
	// Wake brings the plugin back from its sleep. After an error the plugin sleeps as
	// before and its image is untouched, unless the error wraps ErrExited or
	// hibernate.ErrUsedUp: then only what Stop clears away is left.
	Wake(ctx context.Context) (Information, error)
	// OutdatedSleep returns what differs between the configuration with which the plugin, which
	// an earlier host has put to sleep, was started and the present one, nil for nothing.
	// The shell may call it at any time.
	OutdatedSleep() error
	// PutImageAside takes the image, whose wake failed for a cause of that class, out of
	// use: a Lasting one can be put back, an Untrusted one never. It returns where the
	// image lies, nothing if there is none. The plugin then sleeps no more.
	PutImageAside(class hibernate.FailureClass) (KeptImage, error)
	// PutImageBack makes the image of that generation, which was put aside, the one that the
	// plugin sleeps in; 0 stands for the newest. It returns the generation. After an error
	// the image lies where it was, unless it can't be trusted. The plugin neither runs nor
	// sleeps when the shell calls it.
	PutImageBack(generation uint64) (putBack uint64, err error)
	// EndWithoutWake makes the plugin's image unusable, or kills the plugin that sleeps
	// in place. The instance is then as after Stop.
	EndWithoutWake(ctx context.Context) error

	// StartWarm restores the plugin from its golden image, in the place of Launch and
	// Initialize. The error wraps ErrCold if no golden image fits and nothing was
	// tried. After any error the plugin does not run.
	StartWarm(ctx context.Context) (Information, error)
	// MakeGolden makes a golden image of the plugin right after Initialize. After an
	// error there is no golden image and the plugin runs as before, unless the error
	// wraps ErrExited. Where the configuration asks for warm starts, the plugin's events
	// are passed on only from MakeGolden or SkipGolden on.
	MakeGolden(ctx context.Context) error
	// SkipGolden takes the place of MakeGolden when no golden image is wanted.
	SkipGolden(ctx context.Context)
	// StartedFrom returns the golden image that the running plugin began from, nil
	// after a cold start.
	StartedFrom() *GoldenImage
	// GoldenImage returns the golden image that the next start may use, or nil and why
	// there is none.
	GoldenImage() (image *GoldenImage, whyNone error)
	// InvalidateGolden removes the golden image, if there is one; why is logged.
	InvalidateGolden(why error)
	// RemoveStaleGolden removes the golden image if the configuration, which has just
	// changed, no longer asks for it or differs from what the image was made with.
	RemoveStaleGolden()

	// SaveActivationReason saves for the next host why the plugin is active. The shell
	// calls it each time the plugin has become active.
	SaveActivationReason(why Reason)
	// Inherited reports whether an earlier host left a process of this plugin, and
	// why the plugin was active. The shell calls Adopt before anything else then.
	Inherited() (why Reason, inherited bool)
	// Adopt takes over the plugin that an earlier host left running. After an error
	// the plugin does not run, and the error says why it was not taken over.
	Adopt(ctx context.Context) (Information, error)
	// OutlivesHost reports whether the running plugin may run on without this host.
	OutlivesHost() bool
	// LeaveRunning disconnects from the running plugin, which runs on for the next host.
	// The plugin gets no message about that.
	LeaveRunning(ctx context.Context) error
}

// Sink takes the reports of a backend about its plugin. Its methods may be called from
// any goroutine and don't block for long.
type Sink interface {
	// Exited reports that the plugin has ended unasked. A backend must call it once for
	// each such end, and never after the Stop that cleared the plugin away has returned.
	// The error wraps ErrMemoryExceeded if that is the cause.
	Exited(err error)
	// Notify passes an event of the plugin on to the subscribers.
	Notify(n Notification)
	// Lost reports that the backend, while it was made, found the image useless. Callsign
	// and At are filled in.
	Lost(l Loss)
	// ControlChanged reports that the plugin has suspended or resumed.
	ControlChanged(s statecontrol.State)
}

// Information is a plugin's description of itself.
type Information struct {
	Class       string
	Description string
	Version     Version
	// Services are the full names of the gRPC services that the plugin serves.
	Services []string
	// Preconditions, Terminations and Controls are subsystems, as in
	// configs.Plugin.
	Preconditions, Terminations, Controls []string
	// Profile is what others find the plugin by.
	Profile Profile
	// MaxWebBody is how many bytes the body of an HTTP request to the plugin may have; 0
	// stands for the host's own limit.
	MaxWebBody int64
	// StateControl is nil when the plugin can't be suspended.
	StateControl statecontrol.Control
}

// describesLike reports whether two descriptions say the same to others.
func (i Information) describesLike(other Information) bool {
	i.StateControl, other.StateControl = nil, nil
	return reflect.DeepEqual(i, other)
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
	// Index is the part of the method's name after "@", empty for none.
	Index string
	// Params is JSON, nil when the caller gave none.
	Params json.RawMessage
	// Callsign is the virtual plugin that the call is about, empty for the plugin's own
	// instance. Only the backend of a virtual plugin sets it.
	Callsign string
}

// Notification is an event that a plugin sends to its subscribers.
type Notification struct {
	Event string
	// Index limits the event to subscribers of that index; empty means all subscribers.
	Index string
	// Params is JSON, nil for none.
	Params json.RawMessage
	// Sequence counts the events of the plugin's process from 1; 0 means that the event is
	// not counted.
	Sequence uint64
	// Callsign is the virtual plugin whose event it is, empty for the plugin's own.
	Callsign string
}

// ProcessFigures are the process IDs and the memory use of a running plugin, as the
// kernel reports them.
type ProcessFigures struct {
	// PID is the process ID of the plugin's program as the host sees it, 0 when there
	// is none.
	PID int
	// Root is the process ID of the plugin's pid 1 as the host sees it, 0 when there is
	// none. All processes of the plugin are below it.
	Root int
	// DroppedLines is how many lines of the output the log lacks, over all lives.
	DroppedLines int64
	// Memory is the proportional set size of the whole tree in bytes.
	Memory int64
	// Charged is the memory in bytes that the kernel charges to the tree's cgroup,
	// cached files included; 0 without a cgroup.
	Charged int64
	// Loading is how much of the memory has been loaded since a lazy wake, zero once
	// all is loaded.
	Loading Progress
	// ImageRead is how many bytes of its image were read from disk since the plugin was
	// woken or started warm: after a lazy wake first a part of the image. It is 0 after
	// any other start.
	ImageRead int64
}

// Progress counts bytes. Total is an estimate, 0 when nothing is under way.
type Progress struct {
	Done  int64 `json:"done"`
	Total int64 `json:"total"`
}

// Evidence holds the traces of a plugin's end: exit, core file, log and /proc files.
type Evidence struct {
	// Exit says how the process ended, empty while it runs.
	Exit string
	// PID is the process ID of the program as the host sees or saw it, 0 when there was
	// none; Begun is when the process was started or woken.
	PID   int
	Begun time.Time
	// Core is the path of the process's core file, empty when it is not known.
	Core string
	// Log holds the last lines that the plugin wrote, oldest first.
	Log []string
	// Files are texts by file name, such as /proc/<pid>/status under "status".
	Files map[string]string
}

// SleepKind says where the memory of a hibernated plugin is.
type SleepKind string

// The kinds of sleep.
const (
	Stored  SleepKind = "stored"   // in an image on disk; the plugin has no process
	InPlace SleepKind = "in place" // in the swap; the plugin's processes are frozen
)

// Sleep describes the sleep of a hibernated plugin.
type Sleep struct {
	Kind SleepKind
	// Engine is the name, with the version, of the engine that put the plugin to sleep.
	Engine string
	// Bytes is the size of the image, or of the memory in the swap.
	Bytes int64
	// Since is when the image was made, or the memory paged out.
	Since time.Time
	// Generation is the number of the image, 0 in place.
	Generation uint64
}

// GoldenImage describes a golden image of a plugin.
type GoldenImage struct {
	Engine  string
	Bytes   int64
	Created time.Time
	// Generation is the image generation number that a plugin started from the image
	// gets: one more than the last number that the instance used.
	Generation uint64
}

// sink takes the reports of a shell's backend.
type sink struct{ s *Shell }

// Exited gives up all calls in flight at once, since an operation may wait for them. It
// then takes the step to deactivated in the background, which waits for its turn in the
// lane until the shell is closing. The step is left out if the plugin has a new process by then, or
// none, or the shell is closing.
func (k sink) Exited(err error) {
	s := k.s
	s.mu.Lock()
	generation := s.generation
	s.mu.Unlock()
	s.inFlight.cancelAllUntilRenewed()
	s.goUnlessClosing(func() {
		_ = s.lane.waitAndRunOrJoin(s.leaving, Exit, s.deactivationTimeLimit()+overrunLimit, func() error {
			state := s.State()
			hasProcess := state == Activated || state == Hibernated && s.sleepsInPlace()
			s.mu.Lock()
			stale := s.generation != generation
			s.mu.Unlock()
			if stale || !hasProcess {
				return nil
			}
			ctx, cancel := context.WithTimeout(context.Background(), s.deactivationTimeLimit())
			defer cancel()
			return s.stopAfterExit(ctx, err)
		})
	})
}

// Notify sends the plugin's event to the subscribers of the instance.
func (k sink) Notify(n Notification) { k.s.Notify(n) }

// Lost reports the loss to Options.Lost.
func (k sink) Lost(l Loss) { k.s.reportLoss(nil, l) }

// ControlChanged records the change in the status, see Shell.recordAndReportControl.
func (k sink) ControlChanged(to statecontrol.State) { k.s.recordAndReportControl(to) }
