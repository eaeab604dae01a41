package controller

import (
	"context"
	"errors"
	"slices"

	"dormouse/shell"
)

// lifecycleMethods are the verbs of the lifecycle.
func lifecycleMethods() []method {
	const done = "once it is done"
	callsign := []parameter{{name: "callsign", doc: "the instance"}}
	return []method{
		{
			name: "activate", params: callsign, missing: badRequest, returns: done,
			doc:    "Starts the plugin, or wakes it when it is hibernated.",
			errors: []number{unknownKey, privilegedRequest, openingFailed, illegalState, inProgress, pendingConditions},
			serve:  operation((*shell.Shell).Activate, openingFailed, illegalState, inProgress, pendingConditions),
		},
		{
			name: "deactivate", params: callsign, missing: badRequest, returns: done,
			doc:    "Ends the plugin; a hibernated one is woken first, so that it can store what it wants to keep.",
			errors: []number{unknownKey, privilegedRequest, closingFailed, illegalState, inProgress},
			serve:  operation((*shell.Shell).Deactivate, closingFailed, illegalState, inProgress),
		},
		{
			name: "unavailable", params: callsign, missing: badRequest, returns: done,
			doc:    "Bars a deactivated instance from being activated; deactivate lets it in again.",
			errors: []number{unknownKey, privilegedRequest, closingFailed, illegalState, inProgress},
			serve:  operation((*shell.Shell).MakeUnavailable, closingFailed, illegalState, inProgress),
		},
		{
			name: "suspend", params: callsign, missing: badRequest, returns: done,
			doc:    "Suspends the plugin; deactivates one without state control that does not start with the host.",
			errors: []number{unknownKey, privilegedRequest, noStateControl, illegalState, inProgress, timedOut},
			serve:  operation((*shell.Shell).Suspend, asItIs),
		},
		{
			name: "resume", params: callsign, missing: badRequest, returns: done,
			doc:    "Resumes the plugin; activates or wakes it before that if it must.",
			errors: []number{unknownKey, privilegedRequest, noStateControl, illegalState, inProgress, pendingConditions, openingFailed, timedOut},
			serve:  operation((*shell.Shell).Resume, asItIs),
		},
		{
			name: "hibernate", missing: badRequest, returns: "once it sleeps",
			params: append(callsign, parameter{
				name: "timeout", kind: milliseconds, optional: true,
				doc: "the longest it may take in milliseconds, the host's own limit when absent",
			}),
			doc:    "Puts a suspended plugin to sleep on disk.",
			errors: []number{unknownKey, badRequest, general, illegalState, inProgress, timedOut, notSupported, inProcess, aborted},
			serve:  serveHibernate,
		},
	}
}

// asItIs lets an operation's error keep its own number.
const asItIs number = 0

// operation makes the row of a lifecycle verb. Errors other than those in pass
// become otherwise, with what went wrong as the cause.
func operation(
	verb func(*shell.Shell, context.Context, shell.Reason) error,
	otherwise number, pass ...number,
) func(context.Context, request) (any, error) {
	return func(ctx context.Context, r request) (any, error) {
		sh, err := r.target(privilegedRequest)
		if err != nil {
			return nil, err
		}
		return nil, settle(verb(sh, ctx, shell.Requested), otherwise, pass...)
	}
}

func serveHibernate(ctx context.Context, r request) (any, error) {
	if r.args["callsign"] == "" {
		return nil, &fault{number: badRequest}
	}
	sh, err := r.target(badRequest)
	if err != nil {
		return nil, err
	}
	err = sh.Hibernate(ctx, shell.Requested, r.args.duration("timeout"))
	return nil, settle(err, general, illegalState, inProgress, timedOut, notSupported, inProcess, aborted)
}

// target is the instance that the parameter names, which may not be the front
// itself.
func (r request) target(own number) (*shell.Shell, error) {
	callsign := r.args["callsign"]
	if callsign == Callsign {
		return nil, &fault{number: own}
	}
	sh, ok := r.front.supervisor.Shell(callsign)
	if !ok {
		return nil, &fault{number: unknownKey}
	}
	return sh, nil
}

// settle numbers what an operation returned.
func settle(err error, otherwise number, pass ...number) error {
	if err == nil {
		return nil
	}
	f := faultOf(err)
	answered, ok := errors.AsType[*shell.PluginError](err)
	switch {
	case otherwise == asItIs && ok:
		return answered
	case otherwise != asItIs && !slices.Contains(pass, f.number):
		return &fault{otherwise, err}
	}
	return f
}
