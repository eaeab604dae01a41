package controller

import (
	"context"
	"errors"
	"slices"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// lifecycleMethods returns the methods that change the state of an instance.
func lifecycleMethods() []method {
	const illegal, inProgress, pending, hibernated = thunder.IllegalState, thunder.InProgress, thunder.PendingConditions, thunder.Hibernated
	return []method{
		tellingLosses(orCold(operationMethod("activate", "Starts the plugin, or wakes it when it is hibernated. If it can't be woken now it stays hibernated.",
			(*shell.Shell).Activate, thunder.OpeningFailed, illegal, inProgress, pending, hibernated), (*shell.Shell).ActivateCold)),
		orCold(operationMethod("deactivate", "Ends the plugin; a hibernated plugin is woken first, so that it can store its data. If it can't be woken now it stays hibernated.",
			(*shell.Shell).Deactivate, thunder.ClosingFailed, illegal, inProgress, hibernated), (*shell.Shell).DeactivateCold),
		tellingLosses(operationMethod("restart", "Ends the plugin and starts it anew in one turn, or starts it if it does not run. Calls wait meanwhile, whatever on-call says, and instances that require it stay active. A hibernated plugin is woken to end; if it can't be woken now it stays hibernated.",
			(*shell.Shell).Restart, thunder.OpeningFailed, illegal, inProgress, pending, hibernated)),
		operationMethod("unavailable", "Makes a deactivated instance unavailable: it can't be activated until it is deactivated again.",
			(*shell.Shell).MakeUnavailable, thunder.ClosingFailed, illegal, inProgress),
		operationMethod("suspend", "Suspends the plugin; a plugin without state control is deactivated, unless it starts with the host.",
			(*shell.Shell).Suspend, ownNumber, thunder.NoStateControl, illegal, inProgress, thunder.TimedOut),
		tellingLosses(operationMethod("resume", "Resumes the plugin; if necessary it is activated or woken first.",
			(*shell.Shell).Resume, ownNumber, thunder.NoStateControl, illegal, inProgress, pending, hibernated, thunder.OpeningFailed, thunder.TimedOut)),
		{
			name: "hibernate", access: access.Operate, missingParam: thunder.BadRequest, returns: "once it sleeps",
			params: []parameter{{name: "callsign", doc: "the instance"}, {
				name: "timeout", kind: milliseconds, optional: true,
				doc: "the longest it may take in milliseconds, the host's own limit when absent",
			}},
			doc:    "Hibernates a suspended plugin to disk.",
			errors: []thunder.ErrorNumber{thunder.UnknownKey, thunder.BadRequest, thunder.General, illegal, inProgress, thunder.TimedOut, thunder.NotSupported, thunder.InProcess, thunder.Aborted},
			serve:  serveHibernate,
		},
	}
}

// ownNumber is the fallback with which renumberUnlessKept lets each error keep its number.
const ownNumber thunder.ErrorNumber = 0

// operationMethod returns the method of that name, which runs a lifecycle operation on
// the instance in the parameter callsign. Its errors get the number fallback, except
// those whose number is in kept. The Controller is refused.
func operationMethod(
	name, doc string,
	run lifecycleOperation,
	fallback thunder.ErrorNumber, kept ...thunder.ErrorNumber,
) method {
	numbers := append([]thunder.ErrorNumber{thunder.UnknownKey, thunder.PrivilegedRequest, fallback}, kept...)
	return method{
		name: name, access: access.Operate, missingParam: thunder.BadRequest, returns: "once it is done", doc: doc,
		params: []parameter{{name: "callsign", doc: "the instance"}},
		errors: slices.DeleteFunc(numbers, func(n thunder.ErrorNumber) bool { return n == ownNumber }),
		serve: func(ctx context.Context, r request) (any, error) {
			sh, err := r.targetInstance(thunder.PrivilegedRequest)
			if err != nil {
				return nil, err
			}
			run := run
			if r.args.isTrue(coldParam) {
				run = r.called.runCold
			}
			return nil, renumberUnlessKept(run(sh, ctx, shell.Requested), fallback, kept...)
		},
	}
}

// lifecycleOperation is an operation of a shell that needs nothing but a reason.
type lifecycleOperation func(*shell.Shell, context.Context, shell.Reason) error

// coldParam is the parameter with which a hibernated plugin is not woken.
const coldParam = "cold"

// coldParameter returns the parameter coldParam.
func coldParameter() parameter {
	return parameter{name: coldParam, kind: truth, optional: true, doc: "true gives up what a hibernated plugin sleeps in, and does not wake it"}
}

// orCold returns the method with the parameter coldParam, with which it runs runCold instead.
func orCold(m method, runCold lifecycleOperation) method {
	m.params = append(m.params, coldParameter())
	m.runCold = runCold
	return m
}

// tellingLosses returns the method with losses that were not acknowledged in its answer.
func tellingLosses(m method) method {
	serve := m.serve
	m.returns += "; an object with the member lost while a loss of the instance's state is not acknowledged"
	m.serve = func(ctx context.Context, r request) (any, error) {
		if _, err := serve(ctx, r); err != nil {
			return nil, err
		}
		return r.lossesAnswerOrNil(r.args["callsign"]), nil
	}
	return m
}

// serveHibernate hibernates an instance, within the time limit in the parameters.
func serveHibernate(ctx context.Context, r request) (any, error) {
	if r.args["callsign"] == "" {
		return nil, thunder.NewError(thunder.BadRequest, nil)
	}
	sh, err := r.targetInstance(thunder.BadRequest)
	if err != nil {
		return nil, err
	}
	err = sh.Hibernate(ctx, shell.Requested, r.args.durationOrZero("timeout"))
	return nil, renumberUnlessKept(err, thunder.General, thunder.IllegalState, thunder.InProgress, thunder.TimedOut, thunder.NotSupported, thunder.InProcess, thunder.Aborted)
}

// targetInstance returns the instance that the parameter callsign names, or the error
// UnknownKey. For the Controller it returns an error with the number
// numberIfController.
func (r request) targetInstance(numberIfController thunder.ErrorNumber) (*shell.Shell, error) {
	callsign := r.args["callsign"]
	if callsign == configs.ControllerCallsign {
		return nil, thunder.NewError(numberIfController, nil)
	}
	sh, ok := r.front.supervisor.Shell(callsign)
	if !ok {
		return nil, thunder.NewError(thunder.UnknownKey, r.front.supervisor.WhyMissing(callsign))
	}
	return sh, nil
}

// renumberUnlessKept returns err with the number fallback, unless the number of err is in
// kept or fallback is ownNumber: then err keeps its number, or the code that the plugin
// answered. nil stays nil.
func renumberUnlessKept(err error, fallback thunder.ErrorNumber, kept ...thunder.ErrorNumber) error {
	if err == nil {
		return nil
	}
	f := thunder.WithNumber(err)
	answered, ok := errors.AsType[*shell.PluginError](err)
	switch {
	case fallback == ownNumber && ok:
		return answered
	case fallback != ownNumber && !slices.Contains(kept, f.Number):
		return thunder.NewError(fallback, err)
	}
	return f
}
