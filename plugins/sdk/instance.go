package sdk

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"

	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
)

// Instance is the plugin as the host has set it up: one program may run under
// several callsigns, each with a configuration and directories of its own. Its
// methods may be called from any goroutine, but not before Initialize.
type Instance struct {
	Callsign      string
	Configuration Configuration
	// Persistent is a directory that outlives the process and the host.
	Persistent string
	// Volatile is a directory that is emptied at each activation.
	Volatile string
	// Data is a directory of files that came with the plugin; it may not exist,
	// and nothing may be written there.
	Data string
	// Host is what the host offers the plugin.
	Host *Host
	// Log reaches the host's log with level and fields intact. The default
	// loggers of slog and log lead to the same place; what is printed to
	// standard output or error arrives as text without a level.
	Log *slog.Logger

	events  *events
	control *control // nil when the plugin is no Suspender
}

// Configuration is a JSON object, or empty.
type Configuration json.RawMessage

// Decode reads the configuration into the struct that v points to. A member
// that v has no field for is an error; one that is missing leaves its field as
// it was, so that v may hold defaults. If v has a method Validate() error it is
// called last.
func (c Configuration) Decode(v any) error {
	return decode(json.RawMessage(c), v)
}

// Substitute puts the instance's own values in the place of %persistentpath%,
// %volatilepath%, %datapath% and %callsign%, so that a configuration can name
// files without knowing where the instance keeps them.
func (in *Instance) Substitute(text string) string {
	return strings.NewReplacer(
		"%persistentpath%", in.Persistent,
		"%volatilepath%", in.Volatile,
		"%datapath%", in.Data,
		"%callsign%", in.Callsign,
	).Replace(text)
}

// Emit sends an event to its subscribers. It never waits for them: events that
// nobody takes are kept, the last 256 of them, and sent once the host listens
// again. Params may be nil; an event whose params can't be encoded, or exceed
// 1 MiB, is logged and dropped.
func (in *Instance) Emit(event string, params any) {
	in.EmitAt("", event, params)
}

// EmitAt is Emit limited to those who subscribed to event@index.
func (in *Instance) EmitAt(index, event string, params any) {
	raw, err := encode(params)
	switch {
	case in.events == nil: // made by a test of the author's, without a host
	case err != nil:
		in.Log.Error("cannot encode the event", "event", event, "error", err)
	case len(raw) > maxEvent:
		in.Log.Error("the event is too large", "event", event, "bytes", len(raw))
	default:
		in.events.add(&shellpb.Event{Name: event, Index: index, Params: raw})
	}
}

// Request suspends or resumes the plugin on its own initiative, as if the host
// had asked; the host is told. It must not be called from Suspend or Resume.
func (in *Instance) Request(ctx context.Context, c statecontrol.Command) error {
	if in.control == nil {
		return &Error{Code: NotSupported, Message: "the plugin has no state control"}
	}
	return in.control.request(ctx, c)
}
