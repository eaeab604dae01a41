package controller

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"dormouse/internal/jsonrpc"
	"dormouse/plugins/access"
	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// method is a method that the host itself serves, with its documentation. docs/api.md
// and the OpenRPC document are made from it.
type method struct {
	name string
	// aliases are further names of the method.
	aliases []string
	doc     string
	// access is the role that a caller needs. To write a variable the caller needs
	// writeAccess.
	access, writeAccess access.Role
	form                form
	params              []parameter
	// runCold is what a lifecycle method runs with coldParam; nil for other methods.
	runCold lifecycleOperation
	// about returns the callsigns of the instances that a request is about, "" for the
	// host or all of them. nil: the instance that was called, or the parameter callsign.
	about func(request) []string
	// index says what may follow "@" in the name; empty if an index is ignored.
	index string
	// result is a value of the type that serve returns, nil for null; returns
	// describes it.
	result  any
	returns string
	// errors are the numbers of the errors that serve returns.
	errors []thunder.ErrorNumber
	// missingParam is the number of the error if the caller left out a required
	// parameter.
	missingParam thunder.ErrorNumber
	// offeredFor reports whether the host serves the method for the request's instance
	// and dialect; if not, a call of the name goes on to the instance itself. nil: for
	// every instance.
	offeredFor func(context.Context, request) bool
	serve      func(context.Context, request) (any, error)
}

// form is how a method is called.
type form int

const (
	action        form = iota // with an object of parameters
	property                  // read; parameters are ignored
	variable                  // read without parameters, written with any JSON
	objectOrOther             // with an object of parameters, or JSON that serve reads itself
)

// parameter is one member of a method's parameters.
type parameter struct {
	name     string
	kind     paramKind
	optional bool
	doc      string
}

// paramKind is the type of a parameter.
type paramKind int

const (
	text         paramKind = iota // a string, or a number's digits
	milliseconds                  // a number, also as a string
	hopCount                      // 1 to 255, also as a string
	truth                         // true or false, also as a string
)

// request is one call of a method that the host itself serves.
type request struct {
	front  *Front
	from   caller
	called *method
	shell  *shell.Shell    // the instance that was called; nil for methods of the Controller
	index  string          // the text after "@" in the name, often empty
	args   arguments       // the parameters of an object, if the method takes one
	raw    json.RawMessage // the parameters as the caller sent them, nil without any
}

// dialect returns the dialect of the answer.
func (r request) dialect() dialect.Dialect { return r.front.dialectOfCaller(r.from) }

// controllerMethods returns the methods of the callsign Controller.
func controllerMethods() []method {
	return slices.Concat(lifecycleMethods(), lossMethods(), explainMethods(), typeMethods(), instanceMethods(), metadataMethods(), diagnosticMethods(), systemMethods())
}

// commonMethods returns the methods that the host serves for every callsign.
func commonMethods() []method {
	return slices.Concat(subscriptionMethods(), introspectionMethods(), stateControlMethods())
}

// methodsByNameAndAlias returns the methods by name and alias.
func methodsByNameAndAlias(table []method) map[string]*method {
	m := make(map[string]*method, len(table))
	for _, row := range table {
		for _, name := range append(row.aliases, row.name) {
			m[name] = &row
		}
	}
	return m
}

// checkAccessAndServe parses the parameters, checks that the caller may call the method
// with them, serves the request and returns the result as JSON, nil for null. A caller
// without the role is told so first, whatever is wrong with the parameters.
func (m *method) checkAccessAndServe(ctx context.Context, r request) (json.RawMessage, error) {
	r.called = m
	var wrong error
	if m.form == action && len(m.params) > 0 || m.form == objectOrOther && bytes.HasPrefix(r.raw, []byte("{")) {
		r.args, wrong = m.parseArguments(r.raw)
	}
	needed, targets := m.neededRole(r), m.targets(r)
	if err := r.front.checkAccess(r.from, needed, targets...); err != nil {
		return nil, err
	}
	if wrong != nil {
		return nil, wrong
	}
	result, err := m.serve(ctx, r)
	r.front.audit.LogChange(r.from.client, needed, targets, auditedResult(err))
	switch {
	case err != nil:
		return nil, r.front.errorForCaller(r.from, targets[0], err)
	case result == nil:
		return nil, nil
	}
	return jsonrpc.MustMarshal(result), nil
}

// auditedResult returns the result of a call for the audit: "done", or the name of the
// error's number. The error's text may hold what the caller sent.
func auditedResult(err error) string {
	if err == nil {
		return "done"
	}
	return cmp.Or(thunder.NumberOrPluginCode(err).Name(), thunder.General.Name())
}

// arguments holds the parameters that the caller gave, as text, by name.
type arguments map[string]string

// durationOrZero returns a parameter of kind milliseconds, 0 if the caller left it out.
func (a arguments) durationOrZero(name string) time.Duration {
	ms, _ := strconv.ParseInt(a[name], 10, 64) // checked by parseArguments
	return time.Duration(ms) * time.Millisecond
}

// isTrue reports whether the caller gave true as a parameter of kind truth.
func (a arguments) isTrue(name string) bool { return a[name] == "true" }

// parseArguments returns the parameters of a call. If they do not fit the method's, it
// returns those before the first that does not fit, and an error for the caller.
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
			return args, thunder.NewError(m.missingParam, fmt.Errorf("the parameter %q is missing: %s", p.name, p.doc))
		case !given:
			continue
		}
		argument, err := p.parseAsText(value)
		if err != nil {
			n := thunder.ParseFailure
			if own, ok := errors.AsType[*thunder.Error](err); ok {
				n = own.Number
			}
			return args, thunder.NewError(n, fmt.Errorf("the parameter %q is %w", p.name, err))
		}
		args[p.name] = argument
	}
	return args, nil
}

// parseAsText returns the JSON value of a parameter as text: a string without quotes, a
// number's digits. It returns an error if the value is not of the parameter's kind.
func (p parameter) parseAsText(value json.RawMessage) (string, error) {
	s := string(value)
	switch value[0] {
	case '"':
		if err := json.Unmarshal(value, &s); err != nil {
			return "", err
		}
	case 't', 'f':
		if p.kind != truth {
			return "", fmt.Errorf("not a %s", p.kind)
		}
	case '{', '[', 'n':
		return "", fmt.Errorf("not a %s", p.kind)
	}
	switch n, err := strconv.ParseInt(s, 10, 64); {
	case p.kind == milliseconds && (err != nil || n < 0 || n > maxMilliseconds):
		return "", errors.New("not a number of milliseconds")
	case p.kind == truth && s != "true" && s != "false":
		return "", errors.New("not true or false")
	case p.kind == hopCount && (err != nil || n < 1 || n > 255):
		return "", thunder.NewError(thunder.BadRequest, errors.New("not a number from 1 to 255"))
	}
	return s, nil
}

// maxMilliseconds bounds a parameter of kind milliseconds to one day.
const maxMilliseconds = int64(24 * time.Hour / time.Millisecond)

// String returns the type's name in a JSON schema.
func (k paramKind) String() string {
	switch k {
	case text:
		return "string"
	case truth:
		return "boolean"
	default:
		return "number"
	}
}
