package controller

import (
	"context"
	"encoding/json"
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

// stateProperty is the name of the property by which clients of Thunder up to R4 suspend
// and resume a plugin.
const stateProperty = "state"

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
		{
			name: stateProperty, access: access.Read, writeAccess: access.Operate, form: variable, offeredFor: hasStateProperty,
			result: "", returns: "suspended or resumed",
			doc:    "The state of the plugin's state control, also to write; in thunder-r4, only with state control, and unless the plugin has a method of this name.",
			errors: append(refused, thunder.IllegalState, thunder.BadRequest, thunder.InProgress, thunder.TimedOut),
			serve:  serveGetOrSetState,
		},
	}
}

// mayHaveStateControl reports whether the plugin has state control, or may have it:
// the host knows only while the plugin is active.
func mayHaveStateControl(_ context.Context, r request) bool {
	state, control := r.shell.StateAndControl()
	return state != shell.Activated || control != ""
}

// hasStateProperty reports whether the host serves the property state: in R4, for a plugin
// that may have state control and has no method of that name itself. If the host can't
// know the latter because the plugin is not active, it serves the property.
func hasStateProperty(ctx context.Context, r request) bool {
	if !r.dialect().HasStateProperty() || !mayHaveStateControl(ctx, r) {
		return false
	}
	own, err := r.shell.Exists(ctx, stateProperty)
	if err != nil {
		return r.shell.State() != shell.Activated
	}
	return !own
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
	switch strings.ToLower(r.args["command"]) {
	case string(statecontrol.Suspend):
		return nil, r.suspendOrResume(ctx, statecontrol.Suspended)
	case string(statecontrol.Resume):
		return nil, r.suspendOrResume(ctx, statecontrol.Resumed)
	default:
		return nil, thunder.NewError(thunder.BadRequest, fmt.Errorf("the command %.40q is neither Suspend nor Resume", r.args["command"]))
	}
}

// suspendOrResume brings the plugin into the state wanted, one of Suspended and Resumed.
func (r request) suspendOrResume(ctx context.Context, wanted statecontrol.State) error {
	operation := r.shell.Resume
	if wanted == statecontrol.Suspended {
		operation = r.shell.Suspend
	}
	return renumberUnlessKept(operation(ctx, shell.Requested), ownNumber)
}

// serveGetOrSetState answers whether the plugin is suspended or resumed, or brings it into
// the state in the parameters, where it may be already.
func serveGetOrSetState(ctx context.Context, r request) (any, error) {
	now, err := r.controlStateIfActive()
	if err != nil {
		return nil, err
	}
	switch {
	case r.raw != nil:
	case now == statecontrol.Suspended:
		return string(statecontrol.Suspended), nil
	default: // clients know no other state
		return string(statecontrol.Resumed), nil
	}
	wanted, err := readWantedState(r.raw)
	if err != nil || wanted == now {
		return nil, err
	}
	return nil, r.suspendOrResume(ctx, wanted)
}

// readWantedState returns the state in the parameters, which are its name or have it as the
// member value. The error is for the caller.
func readWantedState(params json.RawMessage) (statecontrol.State, error) {
	var object struct{ Value statecontrol.State }
	if json.Unmarshal(params, &object.Value) != nil {
		_ = json.Unmarshal(params, &object) // what is not an object has no value
	}
	switch object.Value {
	case statecontrol.Suspended, statecontrol.Resumed:
		return object.Value, nil
	default:
		return "", thunder.NewError(thunder.BadRequest, fmt.Errorf("the state %.40s is neither \"suspended\" nor \"resumed\"", params))
	}
}
