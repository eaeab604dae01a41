package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"dormouse/internal/jsonrpc"
	"dormouse/shell"
)

// method is one row of the API: what a client may call and what that does.
type method struct {
	name string
	doc  string
	// access tells how it is called.
	access access
	params []parameter
	// index says what may follow "@"; empty when that is ignored.
	index string
	// missing is the error for a parameter that is required and not there.
	missing number
	serve   func(context.Context, request) (any, error)
}

type access int

const (
	action   access = iota // called with parameters
	property               // read; parameters are ignored
	loose                  // the same, but what is no object is its own affair
)

type parameter struct {
	name     string
	kind     kind
	optional bool
	doc      string
}

type kind int

const (
	text         kind = iota // a number is taken as its text
	milliseconds             // a string of digits is taken as the number
)

// request is one call of a row.
type request struct {
	front *Front
	from  caller
	shell *shell.Shell // the instance that was called
	index string
	args  arguments
	raw   json.RawMessage
}

// controllerMethods is the API of the callsign Controller.
func controllerMethods() []method {
	callsign := []parameter{{name: "callsign", doc: "the instance"}}
	return []method{
		{
			name: "activate", params: callsign, missing: badRequest,
			doc:   "Starts the plugin, or wakes it when it is hibernated.",
			serve: operation((*shell.Shell).Activate, openingFailed, illegalState, inProgress, pendingConditions),
		},
		{
			name: "deactivate", params: callsign, missing: badRequest,
			doc:   "Ends the plugin.",
			serve: operation((*shell.Shell).Deactivate, closingFailed, illegalState, inProgress),
		},
		{
			name: "unavailable", params: callsign, missing: badRequest,
			doc:   "Bars a deactivated instance from being activated.",
			serve: operation((*shell.Shell).MakeUnavailable, closingFailed, illegalState, inProgress),
		},
		{
			name: "suspend", params: callsign, missing: badRequest,
			doc:   "Suspends the plugin; deactivates one without state control that does not start with the host.",
			serve: operation((*shell.Shell).Suspend, asItIs),
		},
		{
			name: "resume", params: callsign, missing: badRequest,
			doc:   "Resumes the plugin; activates or wakes it before that if it must.",
			serve: operation((*shell.Shell).Resume, asItIs),
		},
		{
			name: "hibernate", missing: badRequest,
			params: append(callsign, parameter{
				name: "timeout", kind: milliseconds, optional: true,
				doc: "the longest it may take in milliseconds, the host's own limit when absent",
			}),
			doc:   "Puts a suspended plugin to sleep on disk.",
			serve: serveHibernate,
		},
		{name: "status", access: property, index: "the instance", doc: "The instances and where they stand.", serve: serveStatus},
		{name: "services", access: property, index: "the instance", doc: "The same as status.", serve: serveStatus},
		{name: "framework", access: property, doc: "The version of the host.", serve: serveVersion},
		{name: "version", access: property, doc: "The same as framework.", serve: serveVersion},
	}
}

// commonMethods is what every callsign answers to, whatever its plugin does.
func commonMethods() []method {
	subscription := []parameter{
		{name: "event", doc: "the name of the event"},
		{name: "id", doc: "what the method of the notifications begins with"},
	}
	return []method{
		{
			name: "register", params: subscription, missing: invalidParameter, index: "what the event must be about",
			doc:   "Subscribes this websocket to an event.",
			serve: serveRegister,
		},
		{
			name: "unregister", params: subscription, missing: invalidParameter, index: "as it was registered",
			doc:   "Ends a subscription.",
			serve: serveUnregister,
		},
		{
			name: "exists", access: loose, missing: invalidParameter,
			params: []parameter{{name: "method", doc: "the name of the method"}},
			doc:    "Tells whether the callsign has the method.",
			serve:  serveExists,
		},
	}
}

func byName(table []method) map[string]method {
	m := make(map[string]method, len(table))
	for _, row := range table {
		m[row.name] = row
	}
	return m
}

// call checks the parameters, serves the request and renders its result.
func (m method) call(ctx context.Context, r request) (json.RawMessage, error) {
	if m.access == action || m.access == loose && bytes.HasPrefix(r.raw, []byte("{")) {
		args, err := m.arguments(r.raw)
		if err != nil {
			return nil, err
		}
		r.args = args
	}
	result, err := m.serve(ctx, r)
	if err != nil || result == nil {
		return nil, err
	}
	return marshal(result), nil
}

// arguments holds the text of each parameter that was given.
type arguments map[string]string

func (a arguments) duration(name string) time.Duration {
	ms, _ := strconv.ParseInt(a[name], 10, 64) // checked when it came in
	return time.Duration(ms) * time.Millisecond
}

func (m method) arguments(raw json.RawMessage) (arguments, error) {
	var fields map[string]json.RawMessage
	if raw != nil {
		var err error
		if fields, err = jsonrpc.Fields(raw); err != nil {
			return nil, &fault{parseFailure, err}
		}
	}
	args := make(arguments, len(m.params))
	for _, p := range m.params {
		value, given := fields[p.name]
		switch {
		case !given && !p.optional:
			return nil, &fault{m.missing, fmt.Errorf("the parameter %q is missing: %s", p.name, p.doc)}
		case !given:
			continue
		}
		argument, err := p.parse(value)
		if err != nil {
			return nil, &fault{parseFailure, fmt.Errorf("the parameter %q is %w", p.name, err)}
		}
		args[p.name] = argument
	}
	return args, nil
}

func (p parameter) parse(value json.RawMessage) (string, error) {
	s := string(value)
	switch value[0] {
	case '"':
		if err := json.Unmarshal(value, &s); err != nil {
			return "", err
		}
	case '{', '[', 't', 'f', 'n':
		return "", fmt.Errorf("not a %s", p.kind)
	}
	if p.kind == milliseconds {
		if n, err := strconv.ParseInt(s, 10, 64); err != nil || n < 0 || n > maxMilliseconds {
			return "", errors.New("not a number of milliseconds")
		}
	}
	return s, nil
}

const maxMilliseconds = int64(24 * time.Hour / time.Millisecond)

func (k kind) String() string {
	if k == milliseconds {
		return "number"
	}
	return "string"
}

// serveExists answers a bare name, as old clients send it, with Thunder's
// number instead of a truth value.
func serveExists(ctx context.Context, r request) (any, error) {
	name, asked := r.args["method"]
	if !asked && r.raw != nil {
		if err := json.Unmarshal(r.raw, &name); err != nil {
			return nil, &fault{parseFailure, errors.New("params are neither an object nor the name of a method")}
		}
	}
	exists, err := r.front.exists(ctx, r.shell, name)
	switch {
	case err != nil:
		return nil, faultOfCall(err)
	case asked:
		return exists, nil
	case exists:
		return 0, nil
	}
	return unknownKey, nil
}

func (f *Front) exists(ctx context.Context, sh *shell.Shell, name string) (bool, error) {
	if _, common := f.common[name]; common || name == "" {
		return common, nil
	}
	if sh.Callsign() == Callsign {
		_, own := f.methods[name]
		return own, nil
	}
	return sh.Exists(ctx, name)
}
