package supervisor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"dormouse/configs"
	"dormouse/shell"
)

// Reload is Provide for the configuration files. No file is left out any more.
func (s *Supervisor) Reload(ctx context.Context, plugins []configs.Plugin) (changeLines []string, err error) {
	return s.Provide(ctx, FilesSource, plugins)
}

// Provide makes plugins all that the source provides. It changes only what differs, and
// returns one line for each instance that it changed, sorted by callsign; a failure to start
// or end one instance is such a line too. An error says why plugins as a whole can't be
// applied, and may wrap ErrExists or a *ClashError; nothing is changed then.
//
// Provide ends instances of the source that plugins no longer names, hibernated ones after a
// wake. It makes new ones, and starts them if their start mode says so. It restarts active and
// hibernated ones, unless all differing keys are adjustable; the others get their new
// configuration. Clones change with their sources; they and overrides stay. What an earlier
// host left of new instances is taken over.
//
// A plugin that would have to end, but sleeps and can't be woken now, sleeps on with its old
// configuration; Supervisor tries again by itself until the next Provide of the source. Other
// changes of the roster wait, but not for the starts of new instances.
func (s *Supervisor) Provide(ctx context.Context, source string, plugins []configs.Plugin) (changeLines []string, err error) {
	done, err := s.waitAndBeginChange()
	if err != nil {
		return nil, fmt.Errorf("cannot %s: %w", provideText(source), err)
	}
	s.provisions[source]++
	r, err := s.changeRosterAndRetryLater(ctx, source, plugins, 0)
	done()
	if err != nil {
		return nil, err
	}
	return r.startNewInstances(ctx), nil
}

// provideText returns what Provide does for the source, as in "cannot reload".
func provideText(source string) string {
	if source == FilesSource {
		return "reload"
	}
	return "use the instances of " + sourceText(source)
}

// changeRosterAndRetryLater is Provide up to the start of new instances. retries is how often
// this reload was repeated. The caller has begun a change of the roster.
func (s *Supervisor) changeRosterAndRetryLater(ctx context.Context, source string, plugins []configs.Plugin, retries int) (_ *reload, err error) {
	r := &reload{s: s, source: source, before: s.definitions.providedBy(source), after: indexByCallsign(plugins)}
	err = s.checkNotBeingReplaced(slices.Sorted(maps.Keys(r.before))...)
	if err == nil {
		err = r.checkPlugins(plugins)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot %s: %w", provideText(source), err)
	}
	s.definitions.replaceProvided(source, r.after)
	completes := source == FilesSource && len(s.LeftOut()) > 0
	if source == FilesSource {
		s.leftOut.Store(nil)
	}
	r.endRemovedAndReplacedInstances(ctx)
	r.followSources()
	r.applyChangedConfigs(ctx)
	r.addNewInstances(ctx)
	if completes {
		s.events.Roster(RosterChange{Kind: RosterComplete})
	}
	s.recheckAllInBackground() // requirements may differ
	if r.sleepsOn {
		s.repeatReloadInBackground(source, plugins, retries)
	}
	return r, nil
}

// reload is one call of Provide.
type reload struct {
	s             *Supervisor
	source        string
	before, after map[string]configs.Plugin // by callsign

	made []*shell.Shell // the new instances

	mu       sync.Mutex
	lines    []string
	sleepsOn bool // an instance sleeps on, since it can't be woken now
}

// addResultLine adds a line to the result of Provide.
func (r *reload) addResultLine(callsign, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, callsign+": "+fmt.Sprintf(format, args...))
}

// failureText returns the text of an error of an operation. If the instance sleeps on, it
// records that and adds that the host tries again.
func (r *reload) failureText(err error) string {
	if _, asleep := errors.AsType[*shell.AsleepError](err); !asleep {
		return err.Error()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sleepsOn = true
	return err.Error() + "; it sleeps on as it was, and the host tries again"
}

// retryEndAtNextReload records that the instance still exists with its old configuration, so
// that the next reload tries again to end it.
func (r *reload) retryEndAtNextReload(callsign string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.s.definitions.provided[callsign] = providedPlugin{r.before[callsign], r.source}
}

// checkPlugins returns everything that is wrong with plugins, and changes nothing. The
// error may wrap ErrExists or a *ClashError.
func (r *reload) checkPlugins(plugins []configs.Plugin) (err error) {
	d := r.s.definitions
	now := definitions{provided: maps.Clone(d.provided), clones: maps.Clone(d.clones), overrides: maps.Clone(d.overrides)}
	now.replaceProvided(r.source, r.after)
	now.followSources()
	for i, p := range plugins {
		err = errors.Join(err, r.checkCallsignIsFree(p.Callsign), r.s.options.CheckCallsign(p.Callsign), r.s.checkBuiltinExists(p))
		if slices.ContainsFunc(plugins[:i], func(other configs.Plugin) bool { return strings.EqualFold(other.Callsign, p.Callsign) }) {
			err = errors.Join(err, fmt.Errorf("%w: %s names %s twice", ErrExists, sourceText(r.source), p.Callsign))
		}
	}
	for _, wrong := range configs.CheckRequires(now.plugins()) {
		if wrong.Missing == "" || r.mustHave(wrong) {
			err = errors.Join(err, wrong)
		}
	}
	return err
}

// checkCallsignIsFree returns an error if the callsign, in upper or lower case, is that of a
// clone, of a part of the host, or of an instance of another source.
func (r *reload) checkCallsignIsFree(callsign string) error {
	if clone, found := findEqualFold(r.s.definitions.clones, callsign); found {
		return fmt.Errorf("%w: %q is that of a clone, destroy it first", ErrExists, clone.Plugin.Callsign)
	}
	for _, b := range r.s.roster.builtins {
		if strings.EqualFold(b.Callsign(), callsign) {
			return fmt.Errorf("%w: %q is that of a part of the host", ErrExists, b.Callsign())
		}
	}
	if err := r.s.keptVirtualError(callsign); err != nil && r.before[callsign].Callsign == "" {
		return fmt.Errorf("%q: %w", callsign, err)
	}
	return clashError(r.s.definitions.provided, r.s.LeftOut(), r.source, callsign)
}

// mustHave reports whether the missing instance must exist: the files must not lose what others
// require. What requires an instance that a package may bring waits while there is none.
func (r *reload) mustHave(wrong *configs.RequiresError) bool {
	_, wasOwn := r.before[wrong.Missing]
	return r.source == FilesSource && wasOwn
}

// needsNewShell reports whether the instance of p did not exist before, or was of another
// built-in, or of a built-in instead of a program or the reverse.
func (r *reload) needsNewShell(p configs.Plugin) bool {
	old, ok := r.before[p.Callsign]
	return !ok || old.Builtin != p.Builtin
}

// endRemovedAndReplacedInstances ends the instances that plugins no longer names, and those
// that need a new shell, in the reverse order of the start. An instance that can't be ended
// keeps its old configuration.
func (r *reload) endRemovedAndReplacedInstances(ctx context.Context) {
	var gone []*shell.Shell
	for callsign := range r.before {
		p, stays := r.after[callsign]
		if sh, ok := r.s.Shell(callsign); ok && (!stays || r.needsNewShell(p)) {
			gone = append(gone, sh)
		}
	}
	for _, rank := range slices.Backward(sortAndGroupByPosition(gone, positionsAfterRequired(gone))) {
		doInParallelAndWait(rank, func(sh *shell.Shell) {
			callsign := sh.Callsign()
			if err := errors.Join(r.s.endAndTakeOffRoster(ctx, sh, (*shell.Shell).Destroy), r.s.restarts.cancelAndRemoveRecord(callsign)); err != nil {
				r.addResultLine(callsign, "could not be removed: %s", r.failureText(err))
				r.retryEndAtNextReload(callsign)
			} else if _, stays := r.after[callsign]; !stays {
				r.addResultLine(callsign, "removed")
			}
		})
	}
}

// followSources gives the clones the configurations that their sources have from now on,
// and adds a line for each whose source has gone.
func (r *reload) followSources() {
	_, orphaned := r.s.followAndKeepSources()
	for _, callsign := range orphaned {
		r.addResultLine(callsign, "keeps the last configuration of %s, which is gone", r.s.definitions.clones[callsign].Of)
	}
}

// applyChangedConfigs gives each instance whose configuration differs its new one, in the
// order of the start.
func (r *reload) applyChangedConfigs(ctx context.Context) {
	var shells []*shell.Shell
	for _, callsign := range r.s.definitions.callsigns() {
		p, inFile := r.after[callsign]
		if r.s.replacing[callsign] {
			continue // it gets its configuration by that
		}
		if sh, ok := r.s.Shell(callsign); ok && (!inFile || !r.needsNewShell(p)) {
			shells = append(shells, sh)
		}
	}
	for _, rank := range sortAndGroupByPosition(shells, positionsAfterRequired(shells)) {
		doInParallelAndWait(rank, func(sh *shell.Shell) { r.applyConfigIfChanged(ctx, sh) })
	}
}

// applyConfigIfChanged adjusts, restarts or reconfigures one instance if its
// configuration differs, and adds a line to the result.
func (r *reload) applyConfigIfChanged(ctx context.Context, sh *shell.Shell) {
	callsign := sh.Callsign()
	now, _ := r.s.definitions.config(callsign)
	keys, adjustable := sh.Config().DifferingKeys(now)
	switch {
	case len(keys) == 0:
		return
	case adjustable:
		sh.AdjustConfig(now)
		r.addResultLine(callsign, "adjusted, %s", differenceText(keys))
		return
	}
	var err error
	did, restarts := "reconfigured", !sh.State().IsDown()
	if restarts {
		did, err = "restarted", sh.Deactivate(ctx, shell.Requested)
	}
	if err == nil {
		err = sh.Configure(ctx, now)
	}
	if err == nil && restarts {
		err = sh.Activate(ctx, shell.Requested)
	}
	if err != nil && !errors.Is(err, shell.ErrPending) {
		r.addResultLine(callsign, "could not be %s although %s: %s", did, differenceText(keys), r.failureText(err))
		return
	}
	r.addResultLine(callsign, "%s, %s", did, differenceText(keys))
}

// addNewInstances makes and probes the instances that are not on the roster, and takes over what
// an earlier host left of them. Subsystems that they control are no longer active by the host.
func (r *reload) addNewInstances(ctx context.Context) {
	for callsign := range r.after {
		if err := r.addNewInstance(callsign); err != nil {
			r.addResultLine(callsign, "could not be added: %v", err)
		}
	}
	for _, sh := range r.made {
		r.s.bringBackVirtualsOf(sh)
		r.s.events.Roster(RosterChange{Callsign: sh.Callsign(), Kind: RosterCreated})
	}
	r.takeOverWhatIsLeft(ctx)
	r.s.probeAllAndLogFailures(ctx, r.made)
	r.s.updateUncontrolledSubsystems() // the new instances may control some
}

// addNewInstance makes an instance unless it is on the roster. The error may wrap ErrExists: a
// virtual plugin has just taken the callsign.
func (r *reload) addNewInstance(callsign string) error {
	r.s.virtuals.changing.Lock()
	defer r.s.virtuals.changing.Unlock()
	if sh, there := r.s.Shell(callsign); there && !sh.IsVirtual() {
		return nil
	}
	if err := r.s.roster.takenError(callsign); err != nil {
		return err
	}
	config, _ := r.s.definitions.config(callsign)
	sh, err := r.s.newUnlistedInstance(config)
	if err != nil {
		return err
	}
	if sh.Config().StartMode == configs.StartActivated {
		sh.ExpectStart()
	}
	r.s.roster.addOrReplace(sh)
	r.made = append(r.made, sh)
	return nil
}

// startNewInstances starts the new instances whose start mode says so, unless they sleep or run
// since an earlier host, and returns the lines for all that has changed, sorted by callsign.
func (r *reload) startNewInstances(ctx context.Context) (changeLines []string) {
	defer func() {
		for _, sh := range r.made {
			sh.EndExpectedStart()
		}
	}()
	for _, rank := range sortAndGroupByPosition(r.made, startPosition) {
		doInParallelAndWait(rank, func(sh *shell.Shell) {
			r.s.replaceIfOutdated(ctx, sh, shell.Requested)
			switch state := sh.State(); {
			case state == shell.Hibernated:
				r.addResultLine(sh.Callsign(), "added, hibernated as before")
				return
			case state == shell.Activated:
				r.addResultLine(sh.Callsign(), "added, running as before")
				return
			case sh.Config().StartMode != configs.StartActivated:
				r.addResultLine(sh.Callsign(), "added")
				return
			}
			if err := sh.Activate(ctx, shell.Startup); err != nil {
				r.addResultLine(sh.Callsign(), "added, but could not be started: %v", err)
				return
			}
			r.addResultLine(sh.Callsign(), "added and started")
		})
	}
	r.s.autoSleep.decideSoon()
	slices.SortFunc(r.lines, func(a, b string) int {
		return cmp.Compare(strings.SplitN(a, ":", 2)[0], strings.SplitN(b, ":", 2)[0])
	})
	return r.lines
}

// takeOverWhatIsLeft takes over what an earlier host left of new instances: running plugins,
// and what is to be restored with the plugins that run or sleep. Such instances were missing
// when this host started.
func (r *reload) takeOverWhatIsLeft(ctx context.Context) {
	left := slices.DeleteFunc(slices.Clone(r.made), func(sh *shell.Shell) bool {
		return !sh.NeedsAdoption() && sh.State() != shell.Hibernated
	})
	if len(left) == 0 {
		return
	}
	doInParallelAndWait(left, func(sh *shell.Shell) {
		_ = sh.Adopt(ctx) // the shell has logged and kept the error
	})
	r.s.restoreAndAnnounceSubsystems()
	if err := r.s.autoSleep.restoreIdleSuspendedMarks(); err != nil {
		r.s.log.Error().Err(err).Msg("could not read which plugins are to be resumed when they are used")
	}
}

// differenceText returns a text that says which keys differ: "its args and env differ".
func differenceText(keys []string) string {
	last := len(keys) - 1
	if last == 0 && !strings.HasSuffix(keys[0], "s") {
		return "its " + keys[0] + " differs"
	}
	if last == 0 {
		return "its " + keys[0] + " differ"
	}
	return "its " + strings.Join(keys[:last], ", ") + " and " + keys[last] + " differ"
}
