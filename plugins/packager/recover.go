package packager

import (
	"fmt"

	"dormouse/plugins/packager/records"
)

// Start takes up what an earlier host has left: it ends what runs although it may not, and goes on
// with the operations that were under way. The instances exist; those that start with the host
// have been started.
func (p *Packager) Start() {
	for _, record := range p.records.All() {
		p.startRecord(record)
	}
	if p.withBundled {
		bundled, err := p.bundledRequests()
		if err != nil {
			p.log.Error().Err(err).Msg("cannot read the bundled packages")
		}
		p.laterRequests = append(p.laterRequests, bundled...)
	}
	for _, r := range p.laterRequests {
		if err := p.Install(r); err != nil {
			p.log.Error().Err(err).Str("source", r.Source).Msg("cannot install the package")
		}
	}
	p.laterRequests = nil
	if p.withBundled && p.ctx.Err() == nil {
		if err := p.noteStartDone(); err != nil {
			p.log.Error().Err(err).Msg("cannot note that the packages of the first start are taken up; the next start does so again")
		}
	}
	p.active.Go(p.tidy)
	p.active.Go(p.followCentral)
	_ = p.synchronizeCatalogue() // nothing else reads it yet
}

// startRecord takes up what an earlier host has left of one package.
func (p *Packager) startRecord(record records.Record) {
	if record.Operation != nil {
		if err := p.takeUp(record); err != nil {
			p.log.Error().Err(err).Str("package", record.Name).Msg("cannot go on with what was begun")
		}
		return
	}
	if whyRefused(record) != nil {
		p.active.Go(func() { (&operation{p: p, name: record.Name}).endInstances() })
	}
}

// takeUp goes on with an operation that an earlier host has begun. One that was begun by hosts
// twice before its switch has failed: it may be why they ended. From the switch on it is always
// brought to its end.
func (p *Packager) takeUp(record records.Record) error {
	begun := *record.Operation
	o, err := p.reserve(record.Name, begun.Request)
	if err != nil {
		return err
	}
	o.begun, o.from = begun.Begun, begun.From
	o.noteEntered()
	interrupted := begun.Phase.CanCancel() && begun.Starts >= starts
	if err := o.step(records.Note, func(r *records.Record) error {
		r.Operation.Starts++
		return nil
	}); err != nil {
		o.release()
		return err
	}
	p.active.Go(func() {
		if !interrupted {
			p.log.Info().Str("package", o.name).Str("verb", string(begun.Request.Verb)).Str("phase", string(begun.Phase)).Msg("goes on with what an earlier host has begun")
			o.run()
			return
		}
		defer o.release()
		o.end(fmt.Errorf("%w: hosts ended %d times in the phase %s; retry repeats it", ErrInterrupted, begun.Starts, begun.Phase))
	})
	return nil
}

// tidy removes what no package needs any more. It runs beside the work.
func (p *Packager) tidy() {
	err := p.dirs.EmptyTrash(p.options.Clock())
	if err != nil {
		p.log.Error().Err(err).Msg("cannot remove what is not kept any more")
	}
	names, err := p.dirs.Packages()
	if err != nil {
		p.log.Error().Err(err).Msg("cannot list the packages on the disk")
	}
	for _, name := range names {
		p.collectUnlessBusy(name)
	}
}

// collectUnlessBusy collects what a package does not keep, unless an operation is under way, which
// does so at its end. One that begins meanwhile waits.
func (p *Packager) collectUnlessBusy(name string) {
	tidying := &operation{p: p, name: name, entered: true, cancel: func(error) {}, done: make(chan struct{})}
	p.mu.Lock()
	busy := p.running[name] != nil || p.closed
	if !busy {
		p.running[name] = tidying
	}
	p.mu.Unlock()
	if !busy {
		defer tidying.release()
		p.collect(name)
	}
}
