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

// Reload makes the roster that of plugins: it changes only what differs, and
// returns one line for each instance that it changed, sorted by callsign. A
// failure to start or end one instance is such a line too. An error means that
// plugins can't be, and that nothing was changed.
//
// What is gone is ended, a hibernated instance after it was woken. What is new is
// started if its start mode says so. What is active or hibernated is restarted,
// unless only keys differ that can be adjusted in place; what is not is given its
// new configuration. A start mode counts from the next start of the host on.
// Clones stay, and so does what was configured at run time.
func (s *Supervisor) Reload(ctx context.Context, plugins []configs.Plugin) ([]string, error) {
	done, err := s.change()
	if err != nil {
		return nil, fmt.Errorf("cannot reload: %w", err)
	}
	defer done()
	r := reload{s: s, before: s.ledger.files, after: byCallsign(plugins)}
	if err := r.check(plugins); err != nil {
		return nil, fmt.Errorf("cannot reload: %w", err)
	}
	s.ledger.files = maps.Clone(r.after)
	r.end(ctx)
	r.change(ctx)
	r.begin(ctx)
	s.evaluate() // requirements may differ
	s.tiers.look()
	slices.SortFunc(r.lines, func(a, b string) int {
		return cmp.Compare(strings.SplitN(a, ":", 2)[0], strings.SplitN(b, ":", 2)[0])
	})
	return r.lines, nil
}

// reload is one Reload under way.
type reload struct {
	s             *Supervisor
	before, after map[string]configs.Plugin

	mu    sync.Mutex
	lines []string
}

func (r *reload) say(callsign, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, callsign+": "+fmt.Sprintf(format, args...))
}

// keep leaves the instance to the next reload, since it is still what it was.
func (r *reload) keep(callsign string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.s.ledger.files[callsign] = r.before[callsign]
}

// check looks for all that could be wrong, and changes nothing.
func (r *reload) check(plugins []configs.Plugin) (err error) {
	all := slices.Clone(plugins)
	for _, callsign := range slices.Sorted(maps.Keys(r.s.ledger.clones)) {
		all = append(all, r.s.ledger.clones[callsign].Plugin)
		for _, p := range plugins {
			if strings.EqualFold(p.Callsign, callsign) {
				err = errors.Join(err, fmt.Errorf("%w: %q is that of a clone, destroy it first", ErrExists, callsign))
			}
		}
	}
	for _, wrong := range configs.CheckRequires(all) {
		err = errors.Join(err, wrong)
	}
	for _, p := range plugins {
		err = errors.Join(err, r.s.fits(p.Callsign), r.s.checkBuiltin(p))
	}
	return err
}

// isNew tells of an instance whether it can't be made from the one that there
// was.
func (r *reload) isNew(p configs.Plugin) bool {
	old, ok := r.before[p.Callsign]
	return !ok || old.Builtin != p.Builtin
}

// end removes what is gone, in the reverse order of the start.
func (r *reload) end(ctx context.Context) {
	var gone []*shell.Shell
	for callsign := range r.before {
		p, stays := r.after[callsign]
		if sh, ok := r.s.Shell(callsign); ok && (!stays || r.isNew(p)) {
			gone = append(gone, sh)
		}
	}
	for _, rank := range slices.Backward(ranks(gone, afterRequired(gone))) {
		inParallel(rank, func(sh *shell.Shell) {
			callsign := sh.Callsign()
			if err := errors.Join(r.s.remove(ctx, sh), r.s.restarts.forget(callsign)); err != nil {
				r.say(callsign, "could not be removed: %v", err)
				r.keep(callsign)
			} else if _, stays := r.after[callsign]; !stays {
				r.say(callsign, "removed")
			}
		})
	}
}

// change gives what differs its new configuration.
func (r *reload) change(ctx context.Context) {
	var shells []*shell.Shell
	for callsign, p := range r.after {
		if sh, ok := r.s.Shell(callsign); ok && !r.isNew(p) {
			shells = append(shells, sh)
		}
	}
	for _, rank := range ranks(shells, afterRequired(shells)) {
		inParallel(rank, func(sh *shell.Shell) { r.apply(ctx, sh) })
	}
}

func (r *reload) apply(ctx context.Context, sh *shell.Shell) {
	callsign := sh.Callsign()
	old, err := r.s.ledger.effective(r.before[callsign])
	now, nerr := r.s.ledger.effective(r.after[callsign])
	if err = errors.Join(err, nerr); err != nil {
		r.say(callsign, "%v", err)
		return
	}
	keys, adjustable := old.Differences(now)
	switch {
	case len(keys) == 0:
		return
	case adjustable:
		sh.Adjust(now)
		r.say(callsign, "adjusted, %s", differ(keys))
		return
	}
	did := "reconfigured"
	switch sh.State() {
	case shell.Deactivated, shell.Unavailable, shell.Precondition:
		err = r.configure(ctx, sh, now)
	default:
		did = "restarted"
		err = r.restart(ctx, sh, now)
	}
	if err != nil && !errors.Is(err, shell.ErrPending) {
		r.say(callsign, "could not be %s although %s: %v", did, differ(keys), err)
		return
	}
	r.say(callsign, "%s, %s", did, differ(keys))
}

func (r *reload) restart(ctx context.Context, sh *shell.Shell, config configs.Plugin) error {
	if err := sh.Deactivate(ctx, shell.Requested); err != nil {
		r.keep(sh.Callsign())
		return err
	}
	if err := r.configure(ctx, sh, config); err != nil {
		return err
	}
	return sh.Activate(ctx, shell.Requested)
}

func (r *reload) configure(ctx context.Context, sh *shell.Shell, config configs.Plugin) error {
	err := sh.Configure(ctx, config)
	if err != nil {
		r.keep(sh.Callsign())
	}
	return err
}

// begin makes what is new, and starts what is to be started.
func (r *reload) begin(ctx context.Context) {
	var made []*shell.Shell
	for callsign, p := range r.after {
		if _, there := r.s.Shell(callsign); there {
			continue
		}
		config, err := r.s.ledger.effective(p)
		if err != nil {
			r.say(callsign, "%v", err)
		}
		sh, err := r.s.instance(config)
		if err != nil {
			r.say(callsign, "could not be added: %v", err)
			continue
		}
		r.s.roster.add(sh)
		made = append(made, sh)
	}
	r.s.probe(ctx, made)
	r.s.establish() // what they control is no longer up by itself
	for _, rank := range ranks(made, startup) {
		inParallel(rank, func(sh *shell.Shell) {
			if sh.Config().StartMode != configs.StartActivated {
				r.say(sh.Callsign(), "added")
				return
			}
			if err := sh.Activate(ctx, shell.Startup); err != nil {
				r.say(sh.Callsign(), "added, but could not be started: %v", err)
				return
			}
			r.say(sh.Callsign(), "added and started")
		})
	}
}

// differ is the keys in words.
func differ(keys []string) string {
	last := len(keys) - 1
	if last == 0 && !strings.HasSuffix(keys[0], "s") {
		return "its " + keys[0] + " differs"
	}
	if last == 0 {
		return "its " + keys[0] + " differ"
	}
	return "its " + strings.Join(keys[:last], ", ") + " and " + keys[last] + " differ"
}
