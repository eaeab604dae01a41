// Package configs holds the configuration of the host and of the instances: the types,
// their defaults, and Load, which reads files, environment and flags. The package does not
// know what a plugin does with its configuration, nor whether an executable exists.
package configs

import (
	"cmp"
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"
)

// Config is the configuration of the host and all instances. A Config that Load
// returned is valid and needs no other checks.
type Config struct {
	Host      Host       `toml:"host"`
	Listeners []Listener `toml:"listener"`
	Access    []Access   `toml:"access"`
	Packages  Packages   `toml:"packages"`
	Flows     Flows      `toml:"flows"`
	QHAna     QHAna      `toml:"qhana"`
	Webhooks  Webhooks   `toml:"webhooks"`
	State     State      `toml:"state"`
	Tasks     Tasks      `toml:"tasks"`
	Hibernate Hibernate  `toml:"hibernate"`
	Plugins   []Plugin   `toml:"plugin"`

	// Overlays are the tables [[plugin]] that change instances of packages, or add some.
	Overlays []Overlay `toml:"-"`

	// LeftOut are the drop-ins that LoadWithoutBadDropIns left out; Load leaves out none.
	LeftOut LeftOutFiles `toml:"-"`

	// Awaited are the requirements that no file meets and an instance of a package may: each wraps
	// an *AwaitedError.
	Awaited LoadErrors `toml:"-"`
}

// Host is the table [host]: where the host keeps its files, which clients it admits, what
// it logs, and other settings that are not about single plugins.
type Host struct {
	// Root is the directory of the host's state. Load makes the path absolute.
	Root string `toml:"root"`

	// Listen is the address for HTTP and websocket, host:port. Other machines may reach it
	// only with TLS, see CheckExposure.
	Listen string `toml:"listen"`

	TLS // of Listen, and of sockets that systemd hands over

	// Dialect is what a client that connects to Listen speaks, unless it asks for another.
	Dialect Dialect `toml:"dialect"`

	// Communicator is the path of the unix socket for native clients. Load makes the path
	// absolute.
	Communicator string `toml:"communicator"`

	// CommunicatorGroup is the group whose members may connect to the communicator besides
	// root and the host's own user. If empty, no other user may connect.
	CommunicatorGroup string `toml:"communicator-group"`

	// Control is the path of the unix socket for JSON-RPC clients of this machine, "" for
	// one beside the communicator; see ControlPath. Load makes the path absolute.
	Control string `toml:"control"`

	// Open is the role that every client on a loopback address has at least. If empty,
	// such a client has the role of its user.
	Open Role `toml:"open"`

	LogLevel  string `toml:"log-level"`  // trace, debug, info, warn or error
	LogFormat string `toml:"log-format"` // auto, console, json or journal

	// AllowedOrigins are the web origins whose pages may call the host, besides its own.
	AllowedOrigins []string `toml:"allowed-origins"`

	// AllowedHosts are the names that a request may have in its header Host, besides
	// loopback names and the one in Listen.
	AllowedHosts []string `toml:"allowed-hosts"`

	// PublicURL is where others reach the host, and what every link begins with that the host
	// gives away, "" for none. Load takes a slash at its end away. Its host is an allowed host, and its origin an allowed one.
	PublicURL string `toml:"public-url"`

	// Redirect is the path to which GET / redirects a browser.
	Redirect string `toml:"redirect"`

	// WebUI is the directory that is served at /Service/Controller/UI, "" for <root>/ui;
	// see UIDir. WebUIDialect is what pages from there speak; if empty, what others do.
	WebUI        string  `toml:"web-ui"`
	WebUIDialect Dialect `toml:"web-ui-dialect"`

	// Data is the directory with a subdirectory of read-only files for each plugin whose
	// own Data is empty.
	Data string `toml:"data"`

	// Subsystems are the subsystems that the operator defines besides Thunder's.
	Subsystems []string `toml:"subsystems"`

	// Environment are the names of the host's environment variables that clients may read.
	Environment []string `toml:"environment"`

	// Reboot is the command that restarts the machine. If empty, the host uses systemd if
	// the machine runs it.
	Reboot []string `toml:"reboot"`

	// OnHostExit is what happens to running plugins when the host is killed or hands over
	// to the next host.
	OnHostExit OnHostExit `toml:"on-host-exit"`

	// ExitReasons are the reasons for which the host writes a folder about the end of a
	// plugin to <root>/post-mortem. The host keeps the last PostMortems folders.
	ExitReasons []string `toml:"exit-reasons"`
	PostMortems int      `toml:"post-mortems"`

	// Memory is what the host's own memory should not exceed, in bytes: the limit of Go's
	// runtime, unless the environment variable GOMEMLIMIT sets one. Half of it is for
	// messages on their way, see MessageMemory. ClientMemory is how much of that half one
	// client may have; 0 is an eighth of Memory, see ClientMemoryOrDefault.
	Memory       Bytes `toml:"memory"`
	ClientMemory Bytes `toml:"client-memory"`

	// Clones is how many clones there may be.
	Clones int `toml:"clones"`
}

// MessageMemory returns how many bytes the messages of all clients may have in the host.
func (h Host) MessageMemory() Bytes { return h.Memory / 2 }

// ClientMemoryOrDefault returns how many bytes the messages of one client may have in the host.
func (h Host) ClientMemoryOrDefault() Bytes { return cmp.Or(h.ClientMemory, h.Memory/8) }

// Listener is a table [[listener]]: an address besides Host.Listen at which the host
// accepts clients. Dialect goes with ProtocolJSONRPC only.
type Listener struct {
	Address  string   `toml:"address"`
	Protocol Protocol `toml:"protocol"`
	Dialect  Dialect  `toml:"dialect"`
	// Only is OnlyQHAna for a listener that serves nothing outside /qhana, else empty.
	Only string `toml:"only"`
	TLS
}

// OnlyQHAna is the value of the key "only" of a listener for QHAna's programs.
const OnlyQHAna = "qhana"

// RunDir returns the directory of the host's sockets and journals, where the communicator
// is too. The machine must empty this directory at boot.
func (h Host) RunDir() string { return filepath.Dir(h.Communicator) }

// ControlPath returns the path of the control socket, the unix socket for JSON-RPC clients.
func (h Host) ControlPath() string {
	return cmp.Or(h.Control, filepath.Join(h.RunDir(), "control"))
}

// UIDir returns the directory that is served at /Service/Controller/UI.
func (h Host) UIDir() string {
	return cmp.Or(h.WebUI, filepath.Join(h.Root, "ui"))
}

// Hibernate is the table [hibernate]: the engine, the images, and when the host hibernates
// instances by itself.
type Hibernate struct {
	// Criu is the path or name of CRIU's executable. If empty, the host uses the CRIU that
	// setup or the package installed, else the first one in PATH.
	Criu string `toml:"criu"`

	// Dir is the directory of the images. Load replaces "" by <root>/images.
	Dir string `toml:"dir"`

	// Timeout is the longest that one dump or one restore may take.
	Timeout Duration `toml:"timeout"`

	// Budget is how much space all images may take together, 0 for any amount. OnBudget is
	// what happens to a hibernation that exceeds Budget. Reserve is the space that stays
	// free on the disk of the images.
	Budget   Bytes    `toml:"budget"`
	OnBudget OnBudget `toml:"on-budget"`
	Reserve  Bytes    `toml:"reserve"`

	// Parallel is how many images are written at the same time, 0 for one on each
	// processor.
	Parallel int `toml:"parallel"`

	// Unknown is what happens to a hibernation whose plugin holds an object of a kind that is
	// in no row of docs/sleeping.md.
	Unknown UnknownKinds `toml:"unknown"`

	// Encrypt reports whether new images are encrypted: with the key in KeyFile, or
	// in the systemd credential "dormouse-image-key" if KeyFile is empty.
	Encrypt bool   `toml:"encrypt"`
	KeyFile string `toml:"key-file"`

	Compress Compression `toml:"compress"`

	Tiers
}

// Plugin is the configuration of one instance.
type Plugin struct {
	// Callsign is the name of the instance, unique without regard to case.
	Callsign string `toml:"callsign" use:"host"`

	// Executable is the absolute path of the program, or a name to look up in PATH.
	// Either Executable or Builtin is set.
	Executable string `toml:"executable" use:"exec"`

	// Builtin is the class of a plugin that is part of the host.
	Builtin string `toml:"builtin" use:"host"`

	Arguments   []string          `toml:"arguments" use:"exec"`
	Environment map[string]string `toml:"environment" use:"exec"`

	StartMode StartMode `toml:"start-mode" use:"adjust"`

	// StartupOrder is the rank of an instance that starts with the host. Lower ranks start
	// first; instances of equal rank start at the same time.
	StartupOrder int `toml:"startup-order" use:"adjust"`

	// Resume is the value of the key "resumed", nil without the key; see StartsResumed.
	Resume *bool `toml:"resumed" use:"adjust"`

	// Preconditions are subsystems that must all be up before the instance is
	// activated. Any of Terminations, subsystem states such as "!Network", ends the
	// instance until the preconditions hold again. Controls are subsystems that the
	// instance sets. The plugin's own lists are added to them.
	Preconditions []string `toml:"precondition" use:"host"`
	Terminations  []string `toml:"termination" use:"host"`
	Controls      []string `toml:"control" use:"host"`

	// Requires are the callsigns of instances that must be active or hibernated while this
	// instance is active. Instances cannot require each other in a circle.
	Requires []string `toml:"requires" use:"host"`

	// Probe reports whether the host may start the program once before the instance
	// is activated, to ask which subsystems it needs.
	Probe bool `toml:"probe" use:"host"`

	Restart Restart `toml:"restart" use:"adjust"`

	Limits Limits `toml:"limits"`

	// WebUI is a directory of static files, served at /Service/<Callsign>/UI. WebUIDialect
	// is what pages from there speak; if empty, what the host's own pages do.
	WebUI        string  `toml:"web-ui" use:"host"`
	WebUIDialect Dialect `toml:"web-ui-dialect" use:"host"`

	// Data is the directory with the program's read-only files. Empty means the
	// directory with the program's name in Host.Data.
	Data string `toml:"data" use:"initialize"`

	OnCall OnCall `toml:"on-call" use:"adjust"`

	Idling

	// Configuration is the plugin's own table, which the host must not interpret.
	// It has only values that JSON has: dates are RFC 3339 strings.
	Configuration map[string]any `toml:"configuration" use:"initialize"`

	// StartTimeout is the longest that launch, handshake and Initialize may take together.
	StartTimeout Duration `toml:"start-timeout" use:"adjust"`

	// StopTimeout is the longest that Deinitialize may take. The processes then have the
	// same time again to end before the host kills them.
	StopTimeout Duration `toml:"stop-timeout" use:"adjust"`

	// CallTimeout is the longest one call to the plugin may take.
	CallTimeout Duration `toml:"call-timeout" use:"adjust"`

	// LogRate is how many bytes per second of the output the host logs on average, 0 for any
	// number. What is more is read and dropped.
	LogRate Bytes `toml:"log-rate" use:"adjust"`

	// Wake is how much memory is loaded before a woken instance runs.
	Wake WakeMode `toml:"wake" use:"host"`

	Sleep Sleep `toml:"sleep" use:"host"`

	// CheckpointAfter is how long a hibernated instance sleeps in place, if it can, before
	// the host checkpoints it; nil for a checkpoint at once. Only SleepAuto allows a value.
	CheckpointAfter *Duration `toml:"checkpoint-after" use:"host"`

	OnFailedWake OnFailedWake `toml:"on-failed-wake" use:"adjust"`

	// WarmStart reports whether the host keeps a golden image of the plugin, from
	// which later activations start.
	WarmStart bool `toml:"warm-start" use:"host"`
}

// Restart is what the host does when a plugin ends by itself.
type Restart struct {
	Policy RestartPolicy `toml:"policy"`

	// Limit is how many restarts the host tries within Window. After that many the
	// instance stays deactivated.
	Limit  int      `toml:"limit"`
	Window Duration `toml:"window"`

	// Backoff is the pause before the first restart. The pause doubles with each further
	// restart within Window.
	Backoff Duration `toml:"backoff"`
}

// StartsResumed reports whether the host resumes the instance once it is activated. Without
// the key "resumed" the host resumes exactly the instances that start with the host.
func (p Plugin) StartsResumed() bool {
	if p.Resume != nil {
		return *p.Resume
	}
	return p.StartMode == StartActivated
}

// ConfigurationJSON returns the plugin's own table as Initialize receives it, `{}` if
// there is none. It panics on a value that JSON does not have, such as NaN; Load rejects
// such values.
func (p Plugin) ConfigurationJSON() json.RawMessage {
	if len(p.Configuration) == 0 {
		return json.RawMessage("{}")
	}
	raw, err := json.Marshal(p.Configuration)
	if err != nil {
		panic(fmt.Sprintf("configs: configuration of %q: %v", p.Callsign, err))
	}
	return raw
}

// Default returns the configuration of a host without file, environment and flags. All
// defaults are here and in DefaultPlugin.
func Default() Config {
	return Config{
		Host: Host{
			Root:         "/var/lib/dormouse",
			Listen:       "127.0.0.1:9998",
			Dialect:      DialectR4,
			Communicator: "/run/dormouse/communicator",
			LogLevel:     "info",
			LogFormat:    "auto",
			Redirect:     "/Service/Controller/UI/",
			Data:         "/usr/share/dormouse",
			OnHostExit:   HostExitStop,
			ExitReasons:  []string{"failure", "memory exceeded", "watchdog expired"},
			PostMortems:  20,
			Memory:       256 << 20,
			Clones:       256,
		},
		Packages: defaultPackages(),
		Flows:    defaultFlows(),
		QHAna:    defaultQHAna(),
		State:    defaultState(),
		Tasks:    DefaultTasks(),
		Hibernate: Hibernate{
			Timeout:  Duration(60 * time.Second),
			OnBudget: OnBudgetRefuse,
			Unknown:  UnknownRefuse,
			Reserve:  64 << 20,
			Compress: CompressNone,
			Tiers:    defaultTiers(),
		},
	}
}

// DefaultPlugin returns the defaults of an instance. Callsign, Executable and Builtin are
// empty, because these keys have no default.
func DefaultPlugin() Plugin {
	return Plugin{
		StartMode:    StartDeactivated,
		StartupOrder: 50,
		Probe:        true,
		Restart: Restart{
			Policy:  RestartNever,
			Limit:   3,
			Window:  Duration(time.Minute),
			Backoff: Duration(500 * time.Millisecond),
		},
		OnCall:       OnCallReject,
		Idling:       Idling{MinAwake: Duration(10 * time.Second)},
		StartTimeout: Duration(10 * time.Second),
		StopTimeout:  Duration(5 * time.Second),
		CallTimeout:  Duration(30 * time.Second),
		LogRate:      256 << 10,
		Wake:         WakeAuto,
		Sleep:        SleepAuto,
		OnFailedWake: FailedWakeColdStart,
	}
}
