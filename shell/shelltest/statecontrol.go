package shelltest

import (
	"context"
	"errors"
	"sync"

	"dormouse/statecontrol"
)

// Control is the state control of a Plugin.
type Control struct {
	Plugin      *Plugin
	AfterLaunch statecontrol.State // after a launch

	mu  sync.Mutex
	now statecontrol.State
}

// AddControl gives the plugin a state control, which is in state first after a launch.
func (p *Plugin) AddControl(first statecontrol.State) {
	p.Control = &Control{Plugin: p, AfterLaunch: first, now: first}
}

// SetState changes the state without a report to the sink.
func (c *Control) SetState(s statecontrol.State) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = s
}

// ChangeByItself changes the state and reports the change to the sink, like a plugin that
// suspends or resumes by itself.
func (c *Control) ChangeByItself(s statecontrol.State) {
	c.SetState(s)
	c.Plugin.Sink.ControlChanged(s)
}

// State is recorded as the action AskState.
func (c *Control) State(ctx context.Context) (statecontrol.State, error) {
	err := c.Plugin.runAction(ctx, AskState, "")
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now, err
}

// Request is recorded as an action with the name of the command.
func (c *Control) Request(ctx context.Context, command statecontrol.Command) error {
	if err := errors.Join(c.Plugin.runAction(ctx, string(command), ""), c.Plugin.exitError()); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == command.Target() {
		return statecontrol.ErrIllegalState
	}
	c.now = command.Target()
	return nil
}

// Watch panics: a shell learns of changes from its Sink and never calls Watch.
func (c *Control) Watch(context.Context, func(statecontrol.State)) error {
	panic("a shell is told by its Sink")
}
