package shelltest

import (
	"context"
	"errors"
	"time"

	"dormouse/hibernate"
	"dormouse/shell"
)

// Hibernate puts the plugin to sleep on disk, or in place if InPlace is set. It complains
// if calls are running.
func (p *Plugin) Hibernate(ctx context.Context) error {
	defer p.beginExclusiveAction(Hibernate)()
	p.mu.Lock()
	if p.running > 0 {
		p.complain("%d calls are running while the plugin is put to sleep", p.running)
	}
	p.mu.Unlock()
	if err := p.runAction(ctx, Hibernate, ""); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.alive {
		return ErrKilled
	}
	if p.InPlace {
		p.Asleep = &shell.Sleep{Kind: shell.InPlace, Bytes: 4096}
		return nil
	}
	p.replaceProcessByImage()
	return nil
}

// replaceProcessByImage ends the process and leaves an image. The caller holds mu.
func (p *Plugin) replaceProcessByImage() {
	p.alive, p.started = false, false
	p.Asleep = &shell.Sleep{Kind: shell.Stored, Bytes: 4096, Generation: uint64(p.process)} //nolint:gosec // it counts from 1
}

// HibernationObstacle returns no obstacle.
func (p *Plugin) HibernationObstacle() error { return nil }

// HibernationProgress returns that one third of the bytes is done.
func (p *Plugin) HibernationProgress() shell.Progress { return shell.Progress{Done: 1, Total: 3} }

// Sleep returns the field Asleep.
func (p *Plugin) Sleep() *shell.Sleep {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.Asleep
}

// MoveToDisk replaces the process by an image.
func (p *Plugin) MoveToDisk(ctx context.Context) error {
	defer p.beginExclusiveAction(MoveToDisk)()
	if err := errors.Join(p.runAction(ctx, MoveToDisk, ""), p.exitError()); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Asleep == nil || p.Asleep.Kind != shell.InPlace {
		p.complain("moved to disk what does not sleep in place")
	}
	p.replaceProcessByImage()
	return nil
}

// Wake starts a process from the image, or lets a process that sleeps in place run on. After
// a failure the plugin sleeps as before, unless its process was killed.
func (p *Plugin) Wake(ctx context.Context) (shell.Information, error) {
	defer p.beginExclusiveAction(Wake)()
	inPlace := false
	if s := p.Sleep(); s != nil && s.Kind == shell.InPlace {
		inPlace = true
	} else {
		p.startProcess(Wake)
	}
	err := p.runAction(ctx, Wake, "")
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Asleep == nil {
		p.complain("there was no image to wake")
	}
	if !p.alive {
		p.Asleep = nil
		return shell.Information{}, errors.Join(err, ErrKilled)
	}
	if err != nil {
		p.alive, p.started = inPlace, inPlace
		return shell.Information{}, err
	}
	p.Asleep = nil
	return p.information(), nil
}

// OutdatedSleep returns Outdated while the plugin sleeps.
func (p *Plugin) OutdatedSleep() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Asleep == nil {
		return nil
	}
	return p.Outdated
}

// PutImageAside removes the image. A Lasting one can be restored.
func (p *Plugin) PutImageAside(class hibernate.FailureClass) (shell.KeptImage, error) {
	defer p.beginExclusiveAction(PutAside)()
	err := p.runAction(context.Background(), PutAside, string(class))
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.Asleep == nil {
		return shell.KeptImage{}, err
	}
	if class == hibernate.Lasting {
		p.AsideImage = p.Asleep
	}
	p.Asleep = nil
	return shell.KeptImage{Path: "/aside", Until: time.Now().Add(time.Hour), Restorable: class == hibernate.Lasting}, err
}

// PutImageBack makes the plugin sleep in AsideImage.
func (p *Plugin) PutImageBack(generation uint64) (putBack uint64, err error) {
	defer p.beginExclusiveAction(PutBack)()
	if err := p.runAction(context.Background(), PutBack, ""); err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.AsideImage == nil || generation != 0 && generation != p.AsideImage.Generation {
		return 0, hibernate.ErrNoImage
	}
	p.Asleep, p.AsideImage = p.AsideImage, nil
	return p.Asleep.Generation, nil
}

// EndWithoutWake removes the image, or ends the process that sleeps in place. The call is not
// recorded as an action.
func (p *Plugin) EndWithoutWake(context.Context) error {
	p.mu.Lock()
	if p.Asleep == nil {
		p.complain("there was no image to drop")
	}
	p.Asleep = nil
	p.alive, p.started = false, false
	p.mu.Unlock()
	p.reports.Wait()
	return nil
}
