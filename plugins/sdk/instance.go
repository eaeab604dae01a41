package sdk

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"

	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
)

// Instance is one instance of the plugin as the host has set it up. One program may
// run under several callsigns, each with its own configuration and directories. The
// methods may be called from any goroutine once Initialize was called.
type Instance struct {
	Callsign      string
	Configuration Configuration
	// Persistent is the path of a directory that is kept when the process and the
	// host end.
	Persistent string
	// Volatile is the path of a directory that is emptied at each activation.
	Volatile string
	// Data is the path of a directory with the files that came with the plugin. It
	// may not exist, and the plugin must not write to it.
	Data string
	// Host is the plugin's way to call the host and other plugins.
	Host *Host
	// Log writes to the host's log, with level and fields. The default loggers of
	// the packages slog and log write there too. Text that the plugin prints to
	// standard output or standard error also reaches the log, without a level.
	Log *slog.Logger

	events  *eventQueue
	control *stateControl // nil unless the plugin is a Suspender
}

// Configuration is the configuration of an instance: a JSON object, or empty.
type Configuration json.RawMessage

// Decode reads the configuration into the struct that v points to. A member of the
// configuration without a field in v is an error. A field without a member keeps
// its value, so v may hold defaults. If v has a method Validate() error, Decode
// calls it last and returns its error.
func (c Configuration) Decode(v any) error {
	return decodeAndValidateJSON(json.RawMessage(c), v)
}

// Substitute replaces %persistentpath%, %volatilepath%, %datapath% and %callsign%
// in text by the instance's own paths and callsign, so that a configuration can
// name files in the instance's directories.
func (in *Instance) Substitute(text string) string {
	return strings.NewReplacer(
		"%persistentpath%", in.Persistent,
		"%volatilepath%", in.Volatile,
		"%datapath%", in.Data,
		"%callsign%", in.Callsign,
	).Replace(text)
}

// Emit sends an event to the clients that registered for it. params is encoded as
// JSON and may be nil. Emit never waits: the last 256 events are kept until the
// host takes them, and older ones are dropped. An event whose params can't be
// encoded, or take more than 1 MiB, is logged and dropped.
func (in *Instance) Emit(event string, params any) {
	in.EmitAt("", event, params)
}

// EmitAt sends an event only to the clients that registered for event@index; see
// Emit.
func (in *Instance) EmitAt(index, event string, params any) {
	in.emit(&shellpb.Event{Name: event, Index: index}, params)
}

// emit sends an event with those parameters, see Emit.
func (in *Instance) emit(e *shellpb.Event, params any) {
	raw, err := encodeJSON(params)
	e.Params = raw
	switch {
	case in.events == nil: // an author's test made the Instance, without a host
	case err != nil:
		in.Log.Error("cannot encode the event", "event", e.GetName(), "error", err)
	case len(raw) > maxEventBytes:
		in.Log.Error("the event is too large", "event", e.GetName(), "bytes", len(raw))
	default:
		in.events.addDroppingOldest(e)
	}
}

// Request suspends or resumes the plugin from within, as if the host had asked. The
// host is told of the new state. Suspend and Resume must not call Request: it would
// wait for them until ctx ends. The error is a *Error with code NotSupported if the
// plugin is not a Suspender, and statecontrol.ErrIllegalState if the plugin is in
// that state already.
func (in *Instance) Request(ctx context.Context, c statecontrol.Command) error {
	if in.control == nil {
		return &Error{Code: NotSupported, Message: "the plugin has no state control"}
	}
	return in.control.runCommandInTurn(ctx, c)
}
