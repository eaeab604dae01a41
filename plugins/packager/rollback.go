package packager

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"dormouse/internal/failpoint"
	"dormouse/plugins/packager/records"
)

// rollBack puts the version before and its data back, without any fetch. What the version that
// failed has written goes to the trash.
func (o *operation) rollBack() error {
	if err := o.commit(); err != nil {
		return err
	}
	record, _ := o.p.records.Get(o.name)
	if record.Operation.Phase == records.Restoring && record.CanRollback {
		o.endInstances()
		if err := o.putAllDataBack(record); err != nil {
			return err
		}
		err := o.enterPhase(records.Starting, func(r *records.Record) {
			failed := *r.Serving
			failed.Good = false
			r.Serving, r.Previous, r.CanRollback = r.Previous, &failed, false
			r.Operation.Target, r.Operation.Was = r.Serving, r.Was
		})
		if err != nil {
			return err
		}
	}
	record, _ = o.p.records.Get(o.name)
	c, err := o.p.readCandidate(o.name, *record.Serving)
	if err != nil {
		return err
	}
	o.to = c.version.Version
	if err := o.enterPhase(records.Starting); err != nil {
		return err
	}
	if err := o.startCold(record, c); err != nil {
		return err
	}
	if err := o.hibernateAgain(c.plugins, record.Operation.Was); err != nil {
		return err
	}
	o.p.declareFlows(o.name, c.manifest)
	failpoint.Hit("package.rolledback")
	return o.p.dirs.Link(o.name, c.version.Digest)
}

// claimForRollback reserves what the version before declares. The error names another package that
// has taken the name of a flow or a type since, or a callsign: nothing has changed then.
func (o *operation) claimForRollback(record records.Record) error {
	before, err := o.p.readCandidate(o.name, *record.Previous)
	if err == nil {
		err = errors.Join(o.claimFlows(before.manifest.Flows), o.claimFor(before))
	}
	if err != nil {
		return fmt.Errorf("cannot roll back to version %s: %w", record.Previous.Version, err)
	}
	return nil
}

// putAllDataBack puts the data of the version before back: that of its instances, of their clones,
// and of instances that only the version that failed has. Nothing of the package runs.
func (o *operation) putAllDataBack(record records.Record) error {
	before, err := o.p.readCandidate(o.name, *record.Previous)
	if err != nil {
		return fmt.Errorf("cannot put the data of version %s back: %w", record.Previous.Version, err)
	}
	callsigns := make(map[string]bool)
	for _, plugin := range before.plugins {
		callsigns[plugin.Callsign] = true
	}
	for _, sh := range o.p.shellsOf(o.name) {
		callsigns[sh.Callsign()] = true
	}
	for _, callsign := range slices.Sorted(maps.Keys(callsigns)) {
		failpoint.Hit("package.restoring")
		if err := o.p.putDataBack(o.name, *record.Previous, callsign); err != nil {
			return err
		}
	}
	failpoint.Hit("package.datarestored")
	return nil
}

// rollsBackTo returns the version that is to be rolled back to by itself after an upgrade that
// failed in its switch or trial, if the configuration asks for that; else "".
func (o *operation) rollsBackTo() (version string) {
	record, _ := o.p.records.Get(o.name)
	canFail := o.request.Verb == records.Upgrade || o.request.Verb == records.Enable
	if !o.p.settings().AutoRollback || !canFail || record.State != records.Failed || !record.CanRollback {
		return ""
	}
	return record.Previous.Version
}

// autoRollBack begins the rollback that rollsBackTo says.
func (o *operation) autoRollBack() {
	to := o.rollsBackTo()
	if to == "" {
		return
	}
	o.p.log.Warn().Str("package", o.name).Str("from", o.to).Str("to", to).Msg("rolling back, as auto-rollback in [packages] says")
	err := o.p.begin(o.name, records.Request{Verb: records.Rollback, By: "auto-rollback"})
	if err != nil {
		o.p.log.Error().Err(err).Str("package", o.name).Msg("could not roll back")
	}
}

// Retry repeats the operation on a package that failed, as a new operation with the id and the
// options of more, besides those that it had.
func (p *Packager) Retry(name string, more records.Request) error {
	record, found := p.records.Get(name)
	if !found {
		return fmt.Errorf("%w: %s", ErrUnknown, name)
	}
	if record.Failure == nil {
		return fmt.Errorf("%w: nothing of %s has failed", ErrNotPossible, name)
	}
	again := record.Failure.Request
	again.ID, again.By = more.ID, ""
	again.Replace, again.Downgrade, again.Grant = again.Replace || more.Replace, again.Downgrade || more.Downgrade, again.Grant || more.Grant
	if again.Verb == records.Enable && record.State == records.Failed && record.CanRollback { // it is enabled, and did not stay
		again.Verb, again.Source, again.Origin = records.Upgrade, record.Serving.Source, record.Serving.Origin
	}
	if isInstall(again.Verb) && record.State == records.Failed && record.Serving != nil && record.Failure.Version == record.Serving.Version {
		again.Unpacked = record.Serving.Digest
	}
	return p.begin(name, again)
}
