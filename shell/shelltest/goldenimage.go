package shelltest

import (
	"context"
	"errors"
	"fmt"

	"dormouse/hibernate"
	"dormouse/shell"
)

// StartWarm starts a process from the golden image. The error wraps shell.ErrCold if
// GoldenMade is nil.
func (p *Plugin) StartWarm(ctx context.Context) (shell.Information, error) {
	defer p.beginExclusiveAction(StartWarm)()
	if p.GoldenMade == nil {
		return shell.Information{}, fmt.Errorf("%w: there is none", shell.ErrCold)
	}
	p.startProcess(StartWarm)
	if err := errors.Join(p.runAction(ctx, StartWarm, ""), p.exitError()); err != nil {
		p.mu.Lock()
		p.alive, p.started = false, false
		p.mu.Unlock()
		p.reports.Wait()
		return shell.Information{}, err
	}
	p.Control.SetState(p.Control.AfterLaunch)
	p.startedFrom = p.GoldenMade
	return p.information(), nil
}

// MakeGolden makes the golden image of generation 7 if KeepsGolden is set, and otherwise
// does nothing.
func (p *Plugin) MakeGolden(ctx context.Context) error {
	if !p.KeepsGolden {
		return nil
	}
	defer p.beginExclusiveAction(MakeGolden)()
	p.startedFrom = nil
	if err := errors.Join(p.runAction(ctx, MakeGolden, ""), p.exitError()); err != nil {
		return err
	}
	p.GoldenMade = &shell.GoldenImage{Generation: 7}
	return nil
}

// SkipGolden is recorded as an action.
func (p *Plugin) SkipGolden(ctx context.Context) {
	p.startedFrom = nil
	_ = p.runAction(ctx, SkipGolden, "")
}

// StartedFrom returns the golden image that the last start used.
func (p *Plugin) StartedFrom() *shell.GoldenImage { return p.startedFrom }

// GoldenImage returns the field GoldenMade, or hibernate.ErrNoImage.
func (p *Plugin) GoldenImage() (image *shell.GoldenImage, whyNone error) {
	if p.GoldenMade == nil {
		return nil, hibernate.ErrNoImage
	}
	return p.GoldenMade, nil
}

// InvalidateGolden is recorded as an action and removes the golden image.
func (p *Plugin) InvalidateGolden(error) {
	_ = p.runAction(context.Background(), InvalidateGolden, "")
	p.GoldenMade = nil
}

// RemoveStaleGolden complains if the plugin runs or sleeps; it removes nothing.
func (p *Plugin) RemoveStaleGolden() {
	defer p.beginExclusiveAction("configure")()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.started || p.Asleep != nil {
		p.complain("configured while there was a plugin")
	}
}
