package packager

import (
	"errors"
	"fmt"
	"time"

	"dormouse/internal/failpoint"
	"dormouse/plugins/packager/records"
	"dormouse/shell"
)

// disable ends the instances of a package. All else of it stays. The record says already that
// the package is disabled.
func (o *operation) disable() error {
	if err := o.commit(); err != nil {
		return err
	}
	o.p.flowsChanged(o.name)
	states := o.p.instanceStates(o.name)
	err := o.enterPhase(records.Ending, func(r *records.Record) {
		if r.Operation.Was == nil { // else an earlier host's, which had ended some of them
			r.Operation.Was = states
		}
		r.Was = r.Operation.Was
	})
	if err != nil {
		return err
	}
	failpoint.Hit("package.disabling")
	var errs []error
	for _, sh := range o.p.shellsOf(o.name) {
		if sh.State().IsDown() {
			continue
		}
		if err := sh.Deactivate(o.p.ctx, shell.Requested); err != nil {
			errs = append(errs, fmt.Errorf("%s did not end in order: %w", sh.Callsign(), err))
		}
	}
	return errors.Join(errs...)
}

// enable starts the instances of a package that ran when it was disabled. Nothing is fetched. A
// version that came meanwhile has its trial now.
func (o *operation) enable() error {
	if err := o.commit(); err != nil {
		return err
	}
	record, _ := o.p.records.Get(o.name)
	if record.State == records.Failed || record.Serving == nil {
		return nil // it is not refused any more for being disabled, but for having failed
	}
	c, err := o.p.readCandidate(o.name, *record.Serving)
	if err != nil {
		return err
	}
	failpoint.Hit("package.enabling")
	if record.CanRollback {
		return o.enableUntried(record, c)
	}
	if err := o.provide(o.ctx, c.plugins); err != nil {
		return err
	}
	err = o.startWanted(c.plugins, record.Was)
	o.p.flowsChanged(o.name)
	return err
}

// enableUntried starts and tries a version that was installed while its package was disabled. If
// that fails, the version before can be put back as after an upgrade.
func (o *operation) enableUntried(record records.Record, c candidate) error {
	if record.State == records.Installed {
		err := o.step(records.Switch, func(r *records.Record) error {
			r.Operation.Phase, r.Operation.Target, r.Operation.Was = records.Starting, r.Serving, r.Was
			return nil
		})
		if err != nil {
			return err
		}
	} else if record.Operation.Phase == records.Ending { // an earlier host had come so far
		return o.giveUp(errors.New(record.Failure.Reason))
	}
	o.switchBegun, o.from, o.to = time.Now(), record.Previous.Version, record.Serving.Version
	err := o.provide(o.ctx, c.plugins)
	if err == nil {
		err = o.startWanted(c.plugins, record.Was)
	}
	if err == nil {
		err = o.tryOut(c)
	}
	if err != nil {
		return o.giveUp(err)
	}
	return o.hibernateAgain(c.plugins, record.Was)
}
