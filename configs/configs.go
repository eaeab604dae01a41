// Package configs holds what an operator may set: the types, their defaults, and
// the one way to load them. It knows files, environment and flags; it does not
// know what a plugin does with its configuration, nor whether an executable exists.
package configs

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"time"
)

// Config is everything the host is told before it starts. A Config that Load
// returned is valid: nothing in it needs checking again.
type Config struct {
	Host      Host      `toml:"host"`
	Hibernate Hibernate `toml:"hibernate"`
	Plugins   []Plugin  `toml:"plugin"`
}

// Host is where the host keeps its things and who may talk to it.
type Host struct {
	// Root is the state directory; absolute once loaded.
	Root string `toml:"root"`

	// Listen is the host:port of HTTP and websocket, always a loopback address.
	Listen string `toml:"listen"`

	// Communicator is the unix socket of native clients, on which nothing listens
	// yet; absolute once loaded.
	Communicator string `toml:"communicator"`

	LogLevel  string `toml:"log-level"`  // trace, debug, info, warn or error
	LogFormat string `toml:"log-format"` // auto, console or json

	// AllowedOrigins are web origins that may call besides the host's own.
	AllowedOrigins []string `toml:"allowed-origins"`

	// AllowedHosts are Host header names accepted besides loopback and Listen.
	AllowedHosts []string `toml:"allowed-hosts"`
}

// RunDir is the directory of sockets and instance records, which must not
// outlive a boot: the one the communicator lies in.
func (h Host) RunDir() string { return filepath.Dir(h.Communicator) }

// Hibernate is how instances are put to disk.
type Hibernate struct {
	// Criu is the path or name of CRIU's executable. Empty means the one that
	// setup or the package installed, then whatever PATH finds.
	Criu string `toml:"criu"`

	// Dir holds the images. Empty only in Default: Load makes it <root>/images.
	Dir string `toml:"dir"`

	// Timeout is the longest that one dump or one restore may take.
	Timeout Duration `toml:"timeout"`
}

// Plugin is one configured instance of a program.
type Plugin struct {
	// Callsign is unique without regard to case and passes CheckCallsign.
	Callsign string `toml:"callsign"`

	// Executable is absolute, or a bare name that the launcher finds in PATH.
	Executable  string            `toml:"executable"`
	Arguments   []string          `toml:"arguments"`
	Environment map[string]string `toml:"environment"`

	StartMode StartMode `toml:"start-mode"`

	// StartupOrder ranks the instances that start with the host, lower first.
	// Equal numbers start side by side.
	StartupOrder int `toml:"startup-order"`

	// Resume is the key "resumed" as given, nil when absent; ask Resumed.
	Resume *bool `toml:"resumed"`

	OnCall OnCall `toml:"on-call"`

	// Configuration is the plugin's own table, which the host must not
	// interpret. It holds only what JSON can hold: dates are RFC 3339 strings.
	Configuration map[string]any `toml:"configuration"`

	// StartTimeout covers launch, handshake and Initialize's answer together.
	StartTimeout Duration `toml:"start-timeout"`

	// StopTimeout bounds Deinitialize, and then once more the grace before the kill.
	StopTimeout Duration `toml:"stop-timeout"`

	// CallTimeout is the longest one call to the plugin may take.
	CallTimeout Duration `toml:"call-timeout"`

	OnFailedWake OnFailedWake `toml:"on-failed-wake"`
}

// Resumed reports whether the instance is to be resumed once it is activated.
// Unless the configuration says, it is if it starts with the host.
func (p Plugin) Resumed() bool {
	if p.Resume != nil {
		return *p.Resume
	}
	return p.StartMode == StartActivated
}

// ConfigurationJSON is the plugin's own table as Initialize receives it, `{}`
// when there is none. It panics on a value that JSON cannot hold, which Load
// never lets in.
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

// Default is the host with no file, no environment and no flag. Together with
// DefaultPlugin it is the only place where defaults are written.
func Default() Config {
	return Config{
		Host: Host{
			Root:         "/var/lib/dormouse",
			Listen:       "127.0.0.1:9998",
			Communicator: "/run/dormouse/communicator",
			LogLevel:     "info",
			LogFormat:    "auto",
		},
		Hibernate: Hibernate{
			Timeout: Duration(60 * time.Second),
		},
	}
}

// DefaultPlugin is a plugin before its callsign and executable are known, the
// two keys that have no default.
func DefaultPlugin() Plugin {
	return Plugin{
		StartMode:    StartDeactivated,
		StartupOrder: 50,
		OnCall:       OnCallReject,
		StartTimeout: Duration(10 * time.Second),
		StopTimeout:  Duration(5 * time.Second),
		CallTimeout:  Duration(30 * time.Second),
		OnFailedWake: FailedWakeColdStart,
	}
}
