package controller

import (
	"context"
	"slices"

	"dormouse/shell"
)

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
	return nil, settle(err, general, illegalState, inProgress, timedOut, notSupported, inProcess)
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
	if otherwise != asItIs && !slices.Contains(pass, f.number) {
		return &fault{otherwise, err}
	}
	return f
}
