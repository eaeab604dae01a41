package controller

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"dormouse/internal/jsonrpc"
	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// method is one row of the API: what a client may call and what that does. The
// description of the API is made from the same rows.
type method struct {
	name string
	// aliases are other names for the same.
	aliases []string
	doc     string
	// access is what a caller needs for the call, writeAccess for one that writes a
	// variable.
	access, writeAccess access
	form                form
	params              []parameter
	// index says what may follow "@"; empty when that is ignored.
	index string
	// result is a value of the type that is returned, nil for null; returns says
	// what it means.
	result  any
	returns string
	// errors are the numbers that the method itself fails with.
	errors []thunder.Number
	// missing is the error for a parameter that is required and not there.
	missing thunder.Number
	// when tells which instances have the method; nil means all.
	when  func(*shell.Shell) bool
	serve func(context.Context, request) (any, error)
}

// form is how a method is called.
type form int

const (
	action        form = iota // with an object of parameters
	property                  // read; parameters are ignored
	variable                  // read without parameters, written with any JSON
	objectOrOther             // with an object of parameters, or JSON that serve reads itself
)

type parameter struct {
	name     string
	kind     paramKind
	optional bool
	doc      string
}

type paramKind int

const (
	text         paramKind = iota // a number is taken as its text
	milliseconds                  // a string of digits is taken as the number
	hopCount                      // the same; out of range is a bad request
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

// dialect is how the answer is to read.
func (r request) dialect() dialect.Dialect { return r.front.dialectOf(r.from) }

// controllerMethods is the API of the callsign Controller.
func controllerMethods() []method {
	return slices.Concat(lifecycleMethods(), explainMethods(), instanceMethods(), metadataMethods(), diagnosticMethods(), systemMethods())
}

// commonMethods is what the host serves for every callsign, whatever its plugin
// does.
func commonMethods() []method {
	return slices.Concat(subscriptionMethods(), descriptionMethods(), stateControlMethods())
}

func indexByName(table []method) map[string]*method {
	m := make(map[string]*method, len(table))
	for _, row := range table {
		for _, name := range append(row.aliases, row.name) {
			m[name] = &row
		}
	}
	return m
}

// call checks the parameters, serves the request and renders its result.
func (m *method) call(ctx context.Context, r request) (json.RawMessage, error) {
	if !r.from.may(m.neededAccess(r)) {
		return nil, thunder.NewError(thunder.PrivilegedRequest, nil)
	}
	if m.form == action && len(m.params) > 0 || m.form == objectOrOther && bytes.HasPrefix(r.raw, []byte("{")) {
		args, err := m.parseArguments(r.raw)
		if err != nil {
			return nil, err
		}
		r.args = args
	}
	result, err := m.serve(ctx, r)
	if err != nil || result == nil {
		return nil, err
	}
	return jsonrpc.MustMarshal(result), nil
}

// arguments holds the text of each parameter that was given.
type arguments map[string]string

func (a arguments) duration(name string) time.Duration {
	ms, _ := strconv.ParseInt(a[name], 10, 64) // checked when it came in
	return time.Duration(ms) * time.Millisecond
}

func (m *method) parseArguments(raw json.RawMessage) (arguments, error) {
	var fields map[string]json.RawMessage
	if raw != nil {
		var err error
		if fields, err = jsonrpc.Fields(raw); err != nil {
			return nil, thunder.NewError(thunder.ParseFailure, err)
		}
	}
	args := make(arguments, len(m.params))
	for _, p := range m.params {
		value, given := fields[p.name]
		switch {
		case !given && !p.optional:
			return nil, thunder.NewError(m.missing, fmt.Errorf("the parameter %q is missing: %s", p.name, p.doc))
		case !given:
			continue
		}
		argument, err := p.parse(value)
		if err != nil {
			n := thunder.ParseFailure
			if own, ok := errors.AsType[*thunder.Error](err); ok {
				n = own.Number
			}
			return nil, thunder.NewError(n, fmt.Errorf("the parameter %q is %w", p.name, err))
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
	switch n, err := strconv.ParseInt(s, 10, 64); {
	case p.kind == milliseconds && (err != nil || n < 0 || n > maxMilliseconds):
		return "", errors.New("not a number of milliseconds")
	case p.kind == hopCount && (err != nil || n < 1 || n > 255):
		return "", thunder.NewError(thunder.BadRequest, errors.New("not a number from 1 to 255"))
	}
	return s, nil
}

const maxMilliseconds = int64(24 * time.Hour / time.Millisecond)

func (k paramKind) String() string {
	if k == text {
		return "string"
	}
	return "number"
}
