package shelltest

import (
	"context"

	"dormouse/shell"
)

// SaveActivationReason records the reason for ActivationReasons.
func (p *Plugin) SaveActivationReason(why shell.Reason) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.activated = append(p.activated, why)
}

// Inherited reports LeftRunning, with the reason Requested.
func (p *Plugin) Inherited() (shell.Reason, bool) { return shell.Requested, p.LeftRunning }

// Adopt starts a process in the place of the one that an earlier host left running, see
// LeftRunning.
func (p *Plugin) Adopt(ctx context.Context) (shell.Information, error) {
	defer p.beginExclusiveAction(Adopt)()
	p.LeftRunning = false
	if err := p.runAction(ctx, Adopt, ""); err != nil {
		return shell.Information{}, err
	}
	p.startProcess(Adopt)
	return p.information(), nil
}

// OutlivesHost returns true.
func (p *Plugin) OutlivesHost() bool { return true }

// LeaveRunning is recorded as the action Leave and forgets the process.
func (p *Plugin) LeaveRunning(ctx context.Context) error {
	err := p.runAction(ctx, Leave, "")
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alive, p.started = false, false
	return err
}
