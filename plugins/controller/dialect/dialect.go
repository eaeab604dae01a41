// Package dialect writes what differs between the generations of Thunder's clients:
// errors, records of instances and a few results. It does not know the network, nor
// which methods there are.
package dialect

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"dormouse/configs"
	"dormouse/internal/jsonrpc"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// Dialect is the variant of Thunder's messages that one generation of clients
// speaks: R4 or R5.
type Dialect interface {
	// WireError returns the code and the text of a number.
	WireError(n thunder.ErrorNumber) thunder.WireError
	// FailureHTTPStatus returns the HTTP status of an answer that is an error.
	FailureHTTPStatus() int
	// RegisterResult returns the result of register and unregister.
	RegisterResult() any
	// AllowsVersionInCallsign reports whether a client may write the version into the
	// callsign, as in "Controller.1", and then a version behind it.
	AllowsVersionInCallsign() bool
	// SnapshotsOnRegister reports whether a client that registers for changes of
	// state is sent the present state of the active instances at once.
	SnapshotsOnRegister() bool
	// HasStateProperty reports whether each plugin with state control has the property
	// state, and an event statechange of its own.
	HasStateProperty() bool
	// StatusInList returns the JSON value of an instance in a list.
	StatusInList(r Record) any
	// StatusByCallsign returns the JSON value of an instance that was asked for by name.
	StatusByCallsign(r Record) any
	// AllEventParams returns the parameters of the event all, by which a subscriber
	// of all events gets an event of any callsign.
	AllEventParams(callsign, event string, params json.RawMessage) any
}

// dialects holds the dialects by the names in the configuration and in URLs.
var dialects = map[string]Dialect{
	string(configs.DialectR4): R4{}, "r4": R4{},
	string(configs.DialectR5): R5{}, "r5": R5{},
}

// ByName returns the dialect that a client asks for by name. The error, for an unknown
// name, is written for the client.
func ByName(name string) (Dialect, error) {
	d, ok := dialects[name]
	if !ok {
		return nil, fmt.Errorf("there is no dialect %.40q: it is %q or %q", name, configs.DialectR4, configs.DialectR5)
	}
	return d, nil
}

// ByNameOrR4 returns the dialect of that name in the configuration, R4 for every other name.
func ByNameOrR4(configured configs.Dialect) Dialect {
	if d, ok := dialects[string(configured)]; ok {
		return d
	}
	return R4{}
}

// ErrorFor returns err, which is not nil, as the error of a JSON-RPC answer. Its text is
// Thunder's; a cause that adds to it becomes the member cause of data. The error that a
// plugin answered is passed on, unless a *thunder.Error wraps it: then that one's
// number counts.
func ErrorFor(d Dialect, err error) *jsonrpc.Error {
	numbered, ok := errors.AsType[*thunder.Error](err)
	if answered, isAnswer := errors.AsType[*shell.PluginError](err); isAnswer && !ok {
		return errorFromPlugin(d, answered)
	}
	if !ok {
		numbered = thunder.WithNumber(err)
	}
	e := ErrorForNumber(d, numbered.Number)
	if numbered.Cause == nil {
		return e
	}
	data := thunder.DataOf(numbered.Cause)
	if numbered.CauseAddsToNumber() {
		data.Cause = strings.ReplaceAll(numbered.Cause.Error(), "\n", "; ")
	}
	e.Data = data.JSONOrNil()
	return e
}

// errorFromPlugin returns the error that a plugin answered, as the error of a JSON-RPC
// answer. The plugin's text, unless empty, replaces the number's.
func errorFromPlugin(d Dialect, p *shell.PluginError) *jsonrpc.Error {
	e := &jsonrpc.Error{Code: p.Code}
	if p.Code >= 0 {
		e = ErrorForNumber(d, max(thunder.ErrorNumber(p.Code), thunder.General))
	}
	if p.Message != "" {
		e.Message = p.Message
	}
	if jsonrpc.IsJSONInUTF8(p.Data) {
		e.Data = p.Data
	}
	return e
}

// ErrorForNumber returns the error with the number's code and text, and no cause.
func ErrorForNumber(d Dialect, n thunder.ErrorNumber) *jsonrpc.Error {
	w := d.WireError(n)
	return &jsonrpc.Error{Code: w.Code, Message: w.Text}
}
