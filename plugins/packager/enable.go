package packager

import (
	"errors"
	"fmt"

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

// enable starts the instances of a package that ran when it was disabled. Nothing is fetched.
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
	if err := o.provide(o.ctx, c.plugins); err != nil {
		return err
	}
	err = o.startWanted(c.plugins, record.Was)
	o.p.flowsChanged(o.name)
	return err
}
