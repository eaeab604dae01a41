package supervisor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"dormouse/configs"
	"dormouse/shell"
)

// Replace gives an instance of the source another configuration, in one turn of the instance
// as shell.Replace does, and then does so with its clones, one after another. Instances that
// require them stay active, and subsystems that they have activated stay so, as far as the new
// plugin controls them, too.
//
// If the new plugin does not start, the instance is down with its new configuration, its
// clones are as they were, and the old configuration may be put back by another Replace. The
// error may also wrap shell.ErrPending: the new plugin waits for its requirements. A clone that
// sleeps and can't be woken now sleeps on as it was, and the host tries again. The work between
// is done for the instance only.
//
// The error wraps ErrUnknown if the source provides no such instance, and shell.ErrInProgress if
// the instance is being replaced already.
func (s *Supervisor) Replace(ctx context.Context, source string, plugin configs.Plugin, between func(context.Context) error) error {
	return s.replace(ctx, source, plugin, (*shell.Shell).Replace, func(ctx context.Context, callsign string) error {
		if between == nil || callsign != plugin.Callsign {
			return nil
		}
		return between(ctx)
	})
}

// ReplaceForTrial is Replace, but leaves the instance and its clones awake and suspended that were
// hibernated, as shell.ReplaceForTrial does, and does the work between for each of them. A clone
// that sleeps on is replaced later, and then only with the work of Options.BeforeStart.
func (s *Supervisor) ReplaceForTrial(ctx context.Context, source string, plugin configs.Plugin, between func(ctx context.Context, callsign string) error) error {
	return s.replace(ctx, source, plugin, (*shell.Shell).ReplaceForTrial, between)
}

// replaceShell is a way to replace the plugin of one instance.
type replaceShell func(sh *shell.Shell, ctx context.Context, why shell.Reason, to configs.Plugin, between func(context.Context) error) error

// replace replaces the plugin of the instance in that way, and then those of its clones.
func (s *Supervisor) replace(ctx context.Context, source string, plugin configs.Plugin, replaceOne replaceShell, between func(ctx context.Context, callsign string) error) error {
	r := replacement{s: s, source: source, plugin: plugin, replaceOne: replaceOne, between: between}
	config, err := r.checkAndBegin()
	if err != nil {
		return fmt.Errorf("cannot replace %s: %w", plugin.Callsign, err)
	}
	defer r.end()
	sh, _ := s.Shell(plugin.Callsign)
	err = r.replaceShell(ctx, sh, config)
	if keys, _ := sh.Config().DifferingKeys(config); len(keys) > 0 {
		return err // it is as it was
	}
	failed := err != nil && !errors.Is(err, shell.ErrPending)
	clones := r.keepConfig(!failed)
	for _, clone := range clones {
		err = errors.Join(err, r.replaceClone(ctx, clone))
	}
	s.dropUncontrolledSubsystemsOf(append(clones, plugin.Callsign))
	s.updateUncontrolledSubsystems() // the new plugin may control others
	s.recheckAllInBackground()       // requirements may differ
	s.autoSleep.decideSoon()
	return err
}

// replacement is one call of Supervisor.Replace.
type replacement struct {
	s         *Supervisor
	source    string
	plugin    configs.Plugin
	callsigns []string // that are being replaced

	replaceOne replaceShell
	between    func(ctx context.Context, callsign string) error
}

// replaceShell replaces the plugin of the instance or of a clone.
func (r *replacement) replaceShell(ctx context.Context, sh *shell.Shell, to configs.Plugin) error {
	return r.replaceOne(sh, ctx, shell.Requested, to, func(ctx context.Context) error { return r.between(ctx, sh.Callsign()) })
}

// checkAndBegin returns the configuration of the new plugin, with its override, and records
// that the instance is being replaced. It changes nothing if the plugin can't be one of the
// source.
func (r *replacement) checkAndBegin() (config configs.Plugin, err error) {
	done, err := r.s.waitAndBeginChange()
	if err != nil {
		return config, err
	}
	defer done()
	d, callsign := r.s.definitions, r.plugin.Callsign
	before, ok := d.provided[callsign]
	switch {
	case !ok || before.source != r.source:
		return config, fmt.Errorf("%w of %s: %q", ErrUnknown, sourceText(r.source), callsign)
	case before.Builtin != r.plugin.Builtin:
		return config, fmt.Errorf("the key builtin differs: %w", shell.ErrIllegalState)
	}
	followers := d.followersOf(callsign)
	if err := r.s.checkNotBeingReplaced(append(followers, callsign)...); err != nil {
		return config, err
	}
	after := d.providedBy(r.source)
	all := reload{s: r.s, source: r.source, before: maps.Clone(after), after: after}
	after[callsign] = r.plugin
	if err := all.checkPlugins(slices.Collect(maps.Values(after))); err != nil {
		return config, err
	}
	r.note(append(followers, callsign))
	return d.withOverride(r.plugin), nil
}

// keepConfig makes the new plugin what the source provides, and returns the clones that are to
// follow now, if any are.
func (r *replacement) keepConfig(clonesFollow bool) (clones []string) {
	d := r.s.definitions
	d.changing.Lock()
	defer d.changing.Unlock()
	d.provided[r.plugin.Callsign] = providedPlugin{r.plugin, r.source}
	if !clonesFollow {
		return nil
	}
	r.s.followAndKeepSources()
	clones = d.followersOf(r.plugin.Callsign) // some may have been made meanwhile
	r.note(clones)
	return clones
}

// replaceClone replaces the plugin of a clone if its configuration differs. A clone that sleeps
// on is replaced later, in the background.
func (r *replacement) replaceClone(ctx context.Context, callsign string) error {
	d := r.s.definitions
	d.changing.Lock()
	config, _ := d.config(callsign)
	d.changing.Unlock()
	sh, ok := r.s.Shell(callsign)
	if !ok {
		return nil
	}
	keys, adjustable := sh.Config().DifferingKeys(config)
	switch {
	case len(keys) == 0:
		return nil
	case adjustable:
		sh.AdjustConfig(config)
		return nil
	}
	err := r.replaceShell(ctx, sh, config)
	if _, asleep := errors.AsType[*shell.AsleepError](err); asleep {
		r.s.log.Warn().Err(err).Str("callsign", callsign).Msg("this clone sleeps on as it was, and the host tries again")
		d.changing.Lock()
		defer d.changing.Unlock()
		r.s.repeatReloadInBackground(r.source, slices.Collect(maps.Values(d.providedBy(r.source))), 0)
		return nil
	}
	if err != nil && !errors.Is(err, shell.ErrPending) {
		return fmt.Errorf("the clone %s: %w", callsign, err)
	}
	return nil
}

// note records that the instances are being replaced. The caller has begun a change of the
// roster.
func (r *replacement) note(callsigns []string) {
	r.callsigns = append(r.callsigns, callsigns...)
	for _, callsign := range callsigns {
		r.s.replacing[callsign] = true
	}
}

// end records that the instances are not being replaced any more.
func (r *replacement) end() {
	r.s.definitions.changing.Lock()
	defer r.s.definitions.changing.Unlock()
	for _, callsign := range r.callsigns {
		delete(r.s.replacing, callsign)
	}
}

// checkNotBeingReplaced returns an error that wraps shell.ErrInProgress if one of the instances
// is being replaced. The caller has begun a change of the roster.
func (s *Supervisor) checkNotBeingReplaced(callsigns ...string) error {
	for _, callsign := range callsigns {
		if s.replacing[callsign] {
			return fmt.Errorf("%w: %s is being replaced, try again when it runs", shell.ErrInProgress, callsign)
		}
	}
	return nil
}

// followersOf returns the clones that follow the instance, directly or through other clones,
// each after the one that it follows.
func (d *definitions) followersOf(callsign string) (followers []string) {
	for _, clone := range slices.Sorted(maps.Keys(d.clones)) {
		c := d.clones[clone]
		if _, there := d.sourceConfig(c); there && c.Of == callsign {
			followers = append(append(followers, clone), d.followersOf(clone)...)
		}
	}
	return followers
}
