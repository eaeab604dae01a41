package packager

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"dormouse/plugins/packager/records"
	"dormouse/shell"
	"dormouse/supervisor"
)

// healthEvery is how often an instance is asked whether it is healthy during a trial.
const healthEvery = time.Second

// tryOut waits for the trial time of an upgrade and returns an ErrTrial if an instance that is
// active ends by itself or is not healthy meanwhile. An instance that a client deactivates or
// puts to sleep has not failed.
func (o *operation) tryOut(c candidate) error {
	record, _ := o.p.records.Get(o.name)
	limit := time.Duration(o.p.settings().Trial)
	if record.Previous == nil || record.Disabled || limit <= 0 || o.request.Verb == records.Install {
		return nil
	}
	w := &trialWatch{failed: make(chan shell.Transition, 1)}
	stop := o.p.instances.Listen(w)
	defer stop()
	for _, callsign := range o.p.callsignsOf(o.name, c.plugins) {
		sh, ok := o.p.instances.Shell(callsign)
		if !ok {
			continue
		}
		st := sh.Status()
		if err := o.checkNotEnded(st); err != nil {
			return err
		}
		if st.State == shell.Activated || st.State.IsTransitional() {
			w.add(callsign)
		}
	}
	tried := w.callsigns()
	if len(tried) == 0 {
		return nil
	}
	if err := o.enterPhase(records.Trial); err != nil {
		return err
	}
	end := time.NewTimer(limit)
	defer end.Stop()
	ticker := time.NewTicker(min(healthEvery, limit))
	defer ticker.Stop()
	for {
		if err := o.checkHealth(tried); err != nil {
			return err
		}
		select {
		case t := <-w.failed:
			return o.withLog(t.Callsign, fmt.Errorf("%w: %s ended: %w", ErrTrial, t.Callsign, t.Err))
		case <-end.C:
			return errors.Join(o.checkNoneEnded(tried), o.checkHealth(tried))
		case <-ticker.C:
		case <-o.ctx.Done():
			return context.Cause(o.ctx)
		}
	}
}

// checkNotEnded returns an ErrTrial if an instance has ended by itself since the switch began.
func (o *operation) checkNotEnded(st shell.Status) error {
	var why error
	for _, t := range st.History {
		if t.Event == shell.Exit && t.At.After(o.switchBegun) {
			why = cmp.Or(t.Err, why, shell.ErrExited)
		}
	}
	if why == nil && st.State == shell.Deactivated {
		why = st.Err
	}
	if why == nil {
		return nil
	}
	return o.withLog(st.Config.Callsign, fmt.Errorf("%w: %s ended: %w", ErrTrial, st.Config.Callsign, why))
}

// checkNoneEnded is checkNotEnded for all instances on trial.
func (o *operation) checkNoneEnded(tried []string) error {
	for _, callsign := range tried {
		if sh, ok := o.p.instances.Shell(callsign); ok {
			if err := o.checkNotEnded(sh.Status()); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkHealth returns an ErrTrial if an active instance says that it does not serve, or gives no
// answer within its trial.
func (o *operation) checkHealth(tried []string) error {
	for _, callsign := range tried {
		sh, ok := o.p.instances.Shell(callsign)
		if !ok || sh.State() != shell.Activated {
			continue
		}
		ctx, cancel := context.WithTimeout(o.ctx, time.Duration(o.p.settings().Trial))
		err := sh.CheckHealth(ctx)
		cancel()
		if o.ctx.Err() != nil {
			return context.Cause(o.ctx)
		}
		if err != nil && !errors.Is(err, shell.ErrUnavailable) {
			return o.withLog(callsign, fmt.Errorf("%w: %s is not healthy: %w", ErrTrial, callsign, err))
		}
	}
	return nil
}

// trialWatch waits for the end of an instance that nothing asked for.
type trialWatch struct {
	failed chan shell.Transition // takes the first

	mu    sync.Mutex
	tried []string
}

func (w *trialWatch) add(callsign string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.tried = append(w.tried, callsign)
}

func (w *trialWatch) callsigns() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.tried)
}

var _ supervisor.Listener = (*trialWatch)(nil)

// Transition notes the end of an instance on trial, unless a client or a requirement is the cause.
func (w *trialWatch) Transition(t shell.Transition) {
	if !slices.Contains(w.callsigns(), t.Callsign) || t.To != shell.Deactivated || t.Event == shell.Deactivate || t.Event == shell.Lapse {
		return
	}
	if t.Err == nil {
		t.Err = shell.ErrExited
	}
	select {
	case w.failed <- t:
	default:
	}
}

// Notification does nothing.
func (w *trialWatch) Notification(string, shell.Notification) {}

// Subsystems does nothing.
func (w *trialWatch) Subsystems([]supervisor.Subsystem) {}

// Roster does nothing: the listener needs no changes of the roster.
func (w *trialWatch) Roster(supervisor.RosterChange) {}
