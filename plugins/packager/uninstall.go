package packager

import (
	"errors"
	"fmt"
	"strings"

	"dormouse/internal/failpoint"
	"dormouse/plugins/packager/records"
)

// Uninstall begins to remove a package. It is refused, with the list, while other packages need
// what this one provides or its flows hold messages, unless the request says otherwise.
func (p *Packager) Uninstall(name string, r records.Request) error {
	record, found := p.records.Get(name)
	if !found {
		return fmt.Errorf("%w: %s", ErrUnknown, name)
	}
	if record.Operation == nil {
		if err := p.checkRemovable(record, r); err != nil {
			return err
		}
	}
	r.Verb = records.Uninstall
	return p.begin(name, r)
}

// checkRemovable returns an ErrRefused that lists what stands against the removal.
func (p *Packager) checkRemovable(record records.Record, r records.Request) error {
	if r.Force {
		return nil
	}
	var errs []error
	var lifted []string
	if users := p.usersOf(record); len(users) > 0 {
		errs = append(errs, fmt.Errorf("%s need what it provides: --force removes it all the same", strings.Join(users, ", ")))
		lifted = []string{"force"}
	}
	if holding := p.holding(record.Name); len(holding) > 0 && !r.Drain && !r.Discard {
		errs = append(errs, fmt.Errorf("its flows %s hold messages: --drain waits until they are done, --discard removes them", strings.Join(holding, ", ")))
		if lifted == nil {
			lifted = []string{"drain", "discard"}
		}
	}
	if len(errs) > 0 {
		return liftable(fmt.Errorf("%w to uninstall %s: %w", ErrRefused, record.Name, errors.Join(errs...)), lifted...)
	}
	return nil
}

// holding returns the flows of a package that hold messages.
func (p *Packager) holding(name string) []string {
	if p.options.Flows.Holding == nil {
		return nil
	}
	return p.options.Flows.Holding(name)
}

// uninstall ends the instances of a package and removes it. The data of its plugins stays,
// unless the request says purge.
func (o *operation) uninstall() error {
	record, _ := o.p.records.Get(o.name)
	if record.State != records.Removing {
		if err := o.drainAndCommit(); err != nil {
			return err
		}
	}
	failpoint.Hit("package.removing")
	plugins, err := o.p.pluginsOf(withState(record, records.Installed))
	if err != nil {
		o.p.log.Warn().Err(err).Str("package", o.name).Msg("cannot read which instances the package has had")
	}
	if err := o.provide(o.p.ctx, nil); err != nil {
		return err
	}
	failpoint.Hit("package.ended")
	if err := o.endFlows(); err != nil {
		return err
	}
	if err := o.enterPhase(records.Discarding); err != nil {
		return err
	}
	if o.request.Purge {
		for _, plugin := range plugins {
			if err := o.p.options.RemoveInstanceFiles(plugin.Callsign); err != nil {
				return fmt.Errorf("cannot remove the data of %s: %w", plugin.Callsign, err)
			}
		}
	}
	failpoint.Hit("package.purged")
	if err := errors.Join(o.p.dirs.Unlink(o.name), o.p.dirs.RemoveData(o.name, "")); err != nil {
		return err
	}
	failpoint.Hit("package.unlinked")
	if o.request.ToTrash {
		if err := o.p.trashArchive(record); err != nil {
			return err
		}
	}
	if err := o.p.collectVersions(o.name, nil); err != nil {
		return err
	}
	if record.Failure != nil {
		if err := o.p.removeUploadOf(o.name, record.Failure.Request); err != nil {
			return err
		}
	}
	failpoint.Hit("package.collected")
	if origin := record.Origin(); origin == records.Bundled && o.request.By != bySync {
		if err := o.p.noteBundledRemoved(o.name); err != nil {
			return err
		}
	}
	return o.step(records.Succeed, func(r *records.Record) error {
		r.Operation = nil
		return nil
	})
}

// withState returns the record as it was before the removal began.
func withState(r records.Record, state records.State) records.Record {
	r.State, r.Operation = state, nil
	return r
}

// drainAndCommit waits until the flows hold no messages, if that is asked for, and then records
// that the package is being removed.
func (o *operation) drainAndCommit() error {
	if o.request.Drain && o.p.options.Flows.Drain != nil {
		if err := o.enterPhase(records.Draining); err != nil {
			return err
		}
		failpoint.Hit("package.draining")
		if err := o.p.options.Flows.Drain(o.ctx, o.name); err != nil {
			return fmt.Errorf("cannot drain the flows: %w", err)
		}
	}
	if err := o.commit(); err != nil {
		return err
	}
	return o.step(records.Remove, func(r *records.Record) error {
		r.Operation.Phase = records.Ending
		r.CanRollback = false
		return nil
	})
}

// endFlows takes the flows of the package away, with their messages if that is asked for. Their
// states stay.
func (o *operation) endFlows() error {
	if (o.request.Discard || o.request.Force) && o.p.options.Flows.Discard != nil {
		if err := o.p.options.Flows.Discard(o.name); err != nil {
			return fmt.Errorf("cannot discard the messages of its flows: %w", err)
		}
	}
	if o.p.options.Flows.Withdraw != nil {
		o.p.options.Flows.Withdraw(o.name)
	}
	return nil
}
