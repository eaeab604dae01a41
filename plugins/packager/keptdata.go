package packager

import (
	"context"

	"dormouse/configs"
	"dormouse/internal/failpoint"
	"dormouse/plugins/packager/records"
)

// BeforeStart returns the work that must be done before an instance of the package is started as
// plugin says, nil for none: its data is kept if a version begins on it that can be rolled back.
// So it does not matter why that version begins: an instance may be replaced in the switch or
// later, by this host or the next one. It is the supervisor's Options.BeforeStart.
func (p *Packager) BeforeStart(name string, plugin configs.Plugin) (work func(context.Context) error) {
	record, found := p.records.Get(name)
	if !found || !record.MustKeep(plugin.Callsign) || !within(plugin.Executable, p.versionDir(name, record.Serving.Digest)) {
		return nil
	}
	return func(ctx context.Context) error { return p.keepAndNoteData(ctx, record, plugin.Callsign) }
}

// keepAndNoteData keeps the data of an instance or a clone, and records that: from then on it is
// the version that serves that begins on its data.
func (p *Packager) keepAndNoteData(ctx context.Context, record records.Record, callsign string) error {
	if err := p.keepData(ctx, record, callsign); err != nil {
		return err
	}
	failpoint.Hit("package.kept")
	_, err := p.records.Step(record.Name, records.Note, func(r *records.Record) error {
		if r.Operation != nil { // else it has ended meanwhile
			r.Operation.NoteKept(callsign)
		}
		return nil
	})
	return err
}

// keepData keeps the data and the state of an instance as the version before left them. Data that
// is larger than it may be is not kept if the new version has the same format, and then the state
// is not either: a rollback puts both back, or neither.
func (p *Packager) keepData(ctx context.Context, record records.Record, callsign string) error {
	before, limit := record.Previous, int64(p.settings().KeepData)
	err := p.dirs.KeepData(ctx, p.options.PersistentDir(callsign), record.Name, before.Digest, callsign, limit)
	if err != nil && isTooLarge(err) && before.Data == record.Serving.Data {
		p.log.Warn().Str("package", record.Name).Str("instance", callsign).Msg("the data is too large to be kept, and both versions have the same format of it; the state is not kept either")
		return p.dirs.RemoveState(record.Name, before.Digest, callsign) // of an earlier trial
	}
	if err != nil || p.options.State.Keep == nil {
		return err
	}
	return p.dirs.KeepState(record.Name, before.Digest, callsign, func(dir string) error {
		return p.options.State.Keep(ctx, callsign, dir)
	})
}

// putDataBack puts the data and the state of an instance back, as that version has left them, if
// they are kept. It can be repeated.
func (p *Packager) putDataBack(name string, version records.Version, callsign string) error {
	to := p.options.PersistentDir(callsign)
	if err := p.dirs.PutDataBack(to, name, version.Digest, callsign); err != nil {
		return err
	}
	if p.options.State.PutBack == nil {
		return nil
	}
	return p.options.State.PutBack(p.ctx, callsign, p.dirs.KeptState(name, version.Digest, callsign))
}
