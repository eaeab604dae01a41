package controller

import (
	"context"
	"fmt"
	"strings"

	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/statecontrol"
)

// controlPrefix begins the methods and events of a plugin's state control. The host
// serves them, so that a suspend or resume runs in the instance's lane and shows in
// its status.
const controlPrefix = "statecontrol::"

// stateControlMethods returns the methods of every instance whose plugin has state
// control.
func stateControlMethods() []method {
	refused := []thunder.ErrorNumber{thunder.CallNotActive, thunder.CallHibernated}
	return []method{
		{
			name: controlPrefix + "state", access: access.Read, form: property, offeredFor: mayHaveStateControl,
			result: "", returns: "Suspended or Resumed",
			doc:    "The state of the plugin's state control; only with state control.",
			errors: refused,
			serve:  serveStateControlState,
		},
		{
			name: controlPrefix + "request", access: access.Operate, missingParam: thunder.BadRequest, offeredFor: mayHaveStateControl,
			params: []parameter{{name: "command", doc: "Suspend or Resume"}}, returns: "once it is done",
			doc:    "Suspends or resumes the plugin; only with state control.",
			errors: append(refused, thunder.IllegalState, thunder.BadRequest, thunder.InProgress, thunder.TimedOut),
			serve:  serveStateControlRequest,
		},
	}
}

// mayHaveStateControl reports whether the plugin has state control, or may have it:
// the host knows only while the plugin is active.
func mayHaveStateControl(sh *shell.Shell) bool {
	state, control := sh.StateAndControl()
	return state != shell.Activated || control != ""
}

// controlStateIfActive returns whether the plugin is suspended or resumed, or an error if
// the instance is not active.
func (r request) controlStateIfActive() (statecontrol.State, error) {
	switch state, control := r.shell.StateAndControl(); state {
	case shell.Activated:
		return control, nil
	case shell.Hibernated, shell.Hibernating:
		return "", thunder.WithCallNumber(shell.ErrHibernated)
	default:
		return "", thunder.WithCallNumber(fmt.Errorf("%w: it is %s", shell.ErrUnavailable, state))
	}
}

// serveStateControlState answers whether the plugin is Suspended or Resumed.
func serveStateControlState(_ context.Context, r request) (any, error) {
	state, err := r.controlStateIfActive()
	if err != nil {
		return nil, err
	}
	return thunder.PascalCase(string(state)), nil
}

// serveStateControlRequest suspends or resumes the plugin, as the parameter command
// says.
func serveStateControlRequest(ctx context.Context, r request) (any, error) {
	if _, err := r.controlStateIfActive(); err != nil {
		return nil, err
	}
	var err error
	switch strings.ToLower(r.args["command"]) {
	case string(statecontrol.Suspend):
		err = r.shell.Suspend(ctx, shell.Requested)
	case string(statecontrol.Resume):
		err = r.shell.Resume(ctx, shell.Requested)
	default:
		return nil, thunder.NewError(thunder.BadRequest, fmt.Errorf("the command %.40q is neither Suspend nor Resume", r.args["command"]))
	}
	return nil, renumberUnlessKept(err, ownNumber)
}
