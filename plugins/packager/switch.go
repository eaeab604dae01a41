package packager

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"dormouse/configs"
	"dormouse/internal/failpoint"
	"dormouse/plugins/packager/records"
	"dormouse/shell"
	"dormouse/statecontrol"
)

// switchTo makes the candidate the version that serves. It first records that, so that a host
// that is killed meanwhile is followed by one that goes on here.
func (o *operation) switchTo(c candidate) error {
	if err := o.commit(); err != nil {
		return err
	}
	event := records.Switch
	record, _ := o.p.records.Get(o.name)
	if record.State == records.Installing {
		event = records.Note
	}
	was := record.Was
	if record.State == records.Installed && !record.Disabled {
		was = o.p.instanceStates(o.name)
	}
	failpoint.Hit("package.committing")
	if err := o.p.collectData(record); err != nil { // else a rollback could put data of an earlier one back
		return err
	}
	err := o.step(event, func(r *records.Record) error {
		op := r.Operation
		op.Phase, op.Target, op.Was, op.Kept = records.Switching, &c.version, was, make(map[string]bool)
		op.Cold = r.State != records.Installed || r.Disabled
		op.Earlier = r.Previous
		if before := versionToKeep(*r); before != nil {
			r.Previous = before
		}
		r.CanRollback = r.Previous != nil && r.Previous.Good && r.Previous.Digest != c.version.Digest
		r.Serving = &c.version
		r.Failure = nil
		return nil
	})
	if err != nil {
		return err
	}
	failpoint.Hit("package.committed")
	record, _ = o.p.records.Get(o.name)
	return o.resumeSwitch(record)
}

// versionToKeep returns the version that can be put back if the next one fails, nil for none.
func versionToKeep(r records.Record) *records.Version {
	switch {
	case r.CanRollback:
		return r.Previous
	case r.State == records.Installed:
		return r.Serving
	}
	return nil
}

// resumeSwitch goes on with a switch at the phase that the record shows, up to the end of the
// trial. After a failure the instances are down.
func (o *operation) resumeSwitch(record records.Record) error {
	if err := o.commit(); err != nil {
		return err
	}
	o.switchBegun = time.Now()
	c, err := o.p.readCandidate(o.name, *record.Serving)
	if err != nil {
		return o.giveUp(err)
	}
	o.to = c.version.Version
	switch phase := record.Operation.Phase; {
	case phase == records.Ending:
		return o.giveUp(errors.New(record.Failure.Reason))
	case phase == records.Switching && record.Operation.Cold:
		err = o.switchCold(record, c)
	case phase == records.Switching:
		err = o.switchLive(record, c)
	case phase == records.Starting:
		err = o.startCold(record, c)
	}
	if err == nil {
		err = o.p.dirs.Link(o.name, c.version.Digest)
	}
	if err == nil {
		o.p.declareFlows(o.name, c.manifest)
		failpoint.Hit("package.switched")
		err = o.tryOut(c)
	}
	if adjourned, ok := errors.AsType[*adjournedError](err); ok {
		return o.adjourn(adjourned)
	}
	if err != nil {
		return o.giveUp(err)
	}
	failpoint.Hit("package.tried")
	return o.hibernateAgain(c.plugins, record.Operation.Was)
}

// adjournedError is why a switch was put off before an instance was replaced.
type adjournedError struct{ error }

func (e *adjournedError) Unwrap() error { return e.error }

// switchLive replaces the instances of the version before by those of the candidate, one after
// the other. An instance whose data is kept has been replaced already.
func (o *operation) switchLive(record records.Record, c candidate) error {
	before, err := o.p.readCandidate(o.name, *record.Previous)
	if err != nil {
		return err
	}
	kept := make(map[string]bool)
	maps.Copy(kept, record.Operation.Kept)
	for _, plugin := range c.plugins {
		if kept[plugin.Callsign] || !hasCallsign(before.plugins, plugin.Callsign) {
			continue
		}
		failpoint.Hit("package.replacing")
		err := o.p.instances.ReplaceForTrial(o.ctx, o.name, plugin, func(ctx context.Context, callsign string) error {
			o.noteBegin(callsign)
			err := o.p.keepAndNoteData(ctx, record, callsign)
			if err == nil {
				kept[callsign] = true
			}
			return err
		})
		failpoint.Hit("package.replaced")
		switch {
		case err == nil, errors.Is(err, shell.ErrPending):
		case len(kept) == 0:
			return &adjournedError{err}
		default:
			return o.withLog(plugin.Callsign, fmt.Errorf("%s did not start: %w", plugin.Callsign, err))
		}
	}
	return o.provide(o.ctx, c.plugins)
}

// switchCold changes the version while no instance runs: it puts the data of the version before
// in its place if another one has written there. What the new one begins on is kept at its start.
func (o *operation) switchCold(record records.Record, c candidate) error {
	if record.CanRollback {
		if err := o.putAllDataBack(record); err != nil {
			return err
		}
	}
	if err := o.enterPhase(records.Starting); err != nil {
		return err
	}
	record, _ = o.p.records.Get(o.name)
	return o.startCold(record, c)
}

// startCold makes the instances of a version known, and starts those that are to run.
func (o *operation) startCold(record records.Record, c candidate) error {
	if record.Disabled {
		return o.provide(o.ctx, asRefused(c.plugins))
	}
	failpoint.Hit("package.starting")
	if err := o.provide(o.ctx, c.plugins); err != nil {
		return err
	}
	failpoint.Hit("package.started")
	return o.startWanted(c.plugins, record.Operation.Was)
}

// startWanted activates the instances and clones that ran before, and those that are new and
// configured to start. The error says which did not.
func (o *operation) startWanted(plugins []configs.Plugin, was map[string]string) error {
	for _, callsign := range o.p.callsignsOf(o.name, plugins) {
		sh, ok := o.p.instances.Shell(callsign)
		if !ok {
			return fmt.Errorf("%s was not made", callsign)
		}
		before, known := was[callsign]
		if !known && (sh.Config().StartMode != configs.StartActivated || o.p.isClone(callsign)) || known && !ran(before) {
			continue
		}
		o.noteBegin(callsign)
		if err := sh.Activate(o.ctx, shell.Startup); err != nil && !errors.Is(err, shell.ErrPending) {
			return o.withLog(callsign, fmt.Errorf("%s did not start: %w", callsign, err))
		}
		if before == wasSuspended || slept(before) {
			if err := sh.Suspend(o.ctx, shell.Startup); err != nil {
				o.p.log.Warn().Err(err).Str("package", o.name).Str("instance", callsign).Msg("could not suspend it again")
			}
		}
	}
	return nil
}

// hibernateAgain puts the instances to sleep that slept before, as they did. One that can't be
// put to sleep runs on, which is logged. The error says that the host stops: the next one does
// it after a trial of its own.
func (o *operation) hibernateAgain(plugins []configs.Plugin, was map[string]string) error {
	for _, callsign := range o.p.callsignsOf(o.name, plugins) {
		sh, ok := o.p.instances.Shell(callsign)
		if before := was[callsign]; !ok || !slept(before) || sh.State() != shell.Activated {
			continue
		}
		err := o.hibernate(sh, was[callsign])
		if o.p.ctx.Err() != nil {
			return context.Cause(o.p.ctx)
		}
		if err != nil {
			o.p.log.Warn().Err(err).Str("package", o.name).Str("instance", callsign).Msg("could not hibernate it again")
		}
	}
	return nil
}

// hibernate suspends and hibernates an active instance, with an image on disk unless it slept in
// place before.
func (o *operation) hibernate(sh *shell.Shell, before string) error {
	if _, control := sh.StateAndControl(); control != statecontrol.Suspended {
		if err := sh.Suspend(o.ctx, shell.Startup); err != nil {
			return err
		}
	}
	if err := sh.Hibernate(o.ctx, shell.Startup, 0); err != nil || before == wasInPlace {
		return err
	}
	return sh.MoveToDisk(o.ctx, shell.Startup, 0)
}

// adjourn records that the version before serves on, since nothing was replaced yet.
func (o *operation) adjourn(why *adjournedError) error {
	err := o.step(records.Adjourn, func(r *records.Record) error {
		r.Serving, r.Previous, r.CanRollback = r.Previous, r.Operation.Earlier, false
		return nil
	})
	return errors.Join(why.error, err)
}

// giveUp ends the instances after a failed switch or trial. It first records why, so that a host
// that is killed meanwhile is followed by one that ends them too.
func (o *operation) giveUp(why error) error {
	if o.p.ctx.Err() != nil {
		return why // the next host goes on
	}
	failed, _ := o.p.records.Get(o.name) // still in the phase that failed
	err := o.enterPhase(records.Ending, func(r *records.Record) {
		if r.Failure == nil || r.Failure.Request.ID != o.request.ID {
			r.Failure = o.failure(failed, why)
		}
	})
	if err != nil {
		return errors.Join(why, err)
	}
	failpoint.Hit("package.failing")
	o.endInstances()
	record, _ := o.p.records.Get(o.name)
	if plugins, err := o.p.pluginsOf(record); err == nil { // those that were not replaced yet
		if err := o.provide(o.p.ctx, plugins); err != nil {
			o.p.log.Error().Err(err).Str("package", o.name).Msg("could not make all instances known")
		}
	}
	failpoint.Hit("package.failed")
	return why
}

// endInstances ends all instances of the package, also those that sleep and can't be woken.
func (o *operation) endInstances() {
	for _, sh := range o.p.shellsOf(o.name) {
		if sh.State().IsDown() {
			continue
		}
		if err := sh.Deactivate(o.p.ctx, shell.Requested); err != nil && !sh.State().IsDown() {
			err = sh.DeactivateCold(o.p.ctx, shell.Requested)
			if err != nil {
				o.p.log.Error().Err(err).Str("package", o.name).Str("instance", sh.Callsign()).Msg("could not end the instance")
			}
		}
	}
}

// provide makes plugins all instances of the package. The error says which could not be made,
// changed or removed.
func (o *operation) provide(ctx context.Context, plugins []configs.Plugin) error {
	lines, err := o.p.instances.Provide(ctx, o.name, plugins)
	for _, line := range lines {
		o.p.log.Info().Str("package", o.name).Msg(line)
	}
	if err != nil {
		return err
	}
	for _, sh := range o.p.shellsOf(o.name) {
		if source, _ := o.p.instances.SourceOf(sh.Callsign()); source == o.name && !hasCallsign(plugins, sh.Callsign()) && !o.p.isClone(sh.Callsign()) {
			return fmt.Errorf("%s could not be removed: %s", sh.Callsign(), lineOf(lines, sh.Callsign()))
		}
	}
	return nil
}

// lineOf returns the line about an instance.
func lineOf(lines []string, callsign string) string {
	for _, line := range lines {
		if len(line) > len(callsign) && line[:len(callsign)+1] == callsign+":" {
			return line[len(callsign)+2:]
		}
	}
	return "the host says no more"
}

// noteBegin notes that nothing of the instance runs, and that the version that serves begins now.
func (o *operation) noteBegin(callsign string) {
	if o.began == nil {
		o.began = make(map[string]time.Time)
	}
	o.began[callsign] = time.Now()
}

// withLog adds the last lines to an error that the plugin wrote in the version that serves.
func (o *operation) withLog(callsign string, err error) error {
	sh, ok := o.p.instances.Shell(callsign)
	if !ok {
		return err
	}
	return &loggedError{err, sh.LogLines(o.began[callsign])}
}

func hasCallsign(plugins []configs.Plugin, callsign string) bool {
	return slices.ContainsFunc(plugins, func(p configs.Plugin) bool { return p.Callsign == callsign })
}

// asRefused returns the plugins with a start mode by which the host does not start them.
func asRefused(plugins []configs.Plugin) []configs.Plugin {
	all := slices.Clone(plugins)
	for i := range all {
		all[i].StartMode = configs.StartDeactivated
	}
	return all
}
