package supervisor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/shell"
)

// RestartCount is how often a plugin was started again after it had ended by
// itself.
type RestartCount struct {
	// Count is how often within the window of its restart policy.
	Count int
	// GivenUp tells that it was too often: only a request starts it now.
	GivenUp bool
	// Next is when the next restart is due, zero when none is.
	Next time.Time
}

// restarts starts plugins again that ended by themselves, as their policies say.
type restarts struct {
	s    *Supervisor
	kept store.Bucket[restartRecord]

	saving sync.Mutex // one record at a time goes to disk, always as it is then

	mu sync.Mutex
	of map[string]*restarting
}

// restarting is the restarts of one instance.
type restarting struct {
	record  restartRecord
	next    time.Time // when the planned one is due; zero when none is
	cancel  context.CancelFunc
	plan    int  // counts plans, so that a dropped one is told from the present
	ownTurn bool // the activation under way is a restart
}

// restartRecord is what is kept of it across restarts of the host.
type restartRecord struct {
	Version int         `json:"version"`
	Times   []time.Time `json:"times"` // of the restarts, oldest first
	GivenUp bool        `json:"given-up"`
}

const restartVersion = 1

func newRestarts(s *Supervisor) (*restarts, error) {
	r := &restarts{s: s, kept: store.In[restartRecord](s.options.Store, "restarts"), of: make(map[string]*restarting)}
	kept, err := r.kept.All()
	for callsign, record := range kept {
		r.of[callsign] = &restarting{record: record}
	}
	return r, err
}

// Restarts tells how often the plugin of an instance was started again, nothing
// for one that there is not.
func (s *Supervisor) Restarts(callsign string) RestartCount {
	sh, ok := s.Shell(callsign)
	r := s.restarts
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.of[callsign]
	if !ok || i == nil {
		return RestartCount{}
	}
	return RestartCount{Count: len(within(i.record.Times, sh.Config().Restart)), GivenUp: i.record.GivenUp, Next: i.next}
}

// observe plans a restart when a plugin ended by itself, and drops the plan when
// anything else happens to the instance. It is called for each transition, in
// order.
func (r *restarts) observe(t shell.Transition) {
	sh, ok := r.s.Shell(t.Callsign)
	if t.From == t.To || !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i := r.of[t.Callsign]
	if i == nil {
		i = &restarting{}
		r.of[t.Callsign] = i
	}
	failed := t.To == shell.Deactivated && (i.ownTurn && t.Event == shell.Activate || endedByItself(t))
	i.drop()
	switch t.To {
	case shell.Activation:
		if t.Event == shell.Adopt {
			return // it was begun in an earlier host
		}
		i.ownTurn = t.Reason == shell.Automatic
		r.begin(sh, i, t.Reason)
	case shell.Deactivation:
	default:
		i.ownTurn = false
	}
	if failed && applies(sh.Config().Restart.Policy, t) {
		r.plan(sh, i)
	}
}

// endedByItself tells whether t is an end that nobody asked for. A failed wake is
// none: what follows from it is configured apart.
func endedByItself(t shell.Transition) bool {
	switch t.Reason {
	case shell.Failure, shell.MemoryExceeded, shell.WatchdogExpired:
		return t.Event == shell.Exit || t.Event == shell.Deactivate
	default:
		return false
	}
}

func applies(policy configs.RestartPolicy, t shell.Transition) bool {
	exit, ok := errors.AsType[*shell.ExitError](t.Err)
	clean := ok && exit.Clean() && t.Reason == shell.Failure
	return policy == configs.RestartAlways || policy == configs.RestartOnFailure && !clean
}

// begin looks at an activation: one that somebody asked for is a new beginning.
func (r *restarts) begin(sh *shell.Shell, i *restarting, why shell.Reason) {
	switch why {
	case shell.Automatic, shell.Conditions:
		return
	case shell.Startup: // what happened in the host before counts
		i.record.GivenUp = false
	default:
		i.record = restartRecord{}
	}
	r.s.later(func() { r.save(sh.Callsign()) })
}

// plan has the instance restarted after its backoff, or gives it up.
func (r *restarts) plan(sh *shell.Shell, i *restarting) {
	policy := sh.Config().Restart
	i.record.Version = restartVersion
	i.record.Times = within(i.record.Times, policy)
	if len(i.record.Times) >= policy.Limit {
		i.record.GivenUp = true
		why := fmt.Sprintf("given up after %d restarts within %s, activate it to try again", len(i.record.Times), policy.Window)
		r.s.log.Error().Str("callsign", sh.Callsign()).Msg(why)
		r.s.later(func() {
			r.save(sh.Callsign())
			sh.GiveUp(why)
		})
		return
	}
	delay := backoff(policy, len(i.record.Times))
	i.next = time.Now().Add(delay)
	i.record.Times = append(i.record.Times, i.next)
	var ctx context.Context
	ctx, i.cancel = context.WithCancel(r.s.ctx)
	plan := i.plan
	r.s.log.Info().Str("callsign", sh.Callsign()).Int("restart", len(i.record.Times)).Stringer("in", delay.Round(time.Millisecond)).Msg("will start the plugin again")
	r.s.later(func() { r.carryOut(ctx, sh, i, plan, delay) })
}

// carryOut restarts the instance after delay unless the plan is dropped.
func (r *restarts) carryOut(ctx context.Context, sh *shell.Shell, i *restarting, plan int, delay time.Duration) {
	r.save(sh.Callsign()) // first, lest a host that is killed meanwhile forgets to count it
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
	}
	err := sh.Restart(ctx, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return i.plan == plan
	})
	if err != nil && ctx.Err() == nil {
		r.s.log.Warn().Err(err).Str("callsign", sh.Callsign()).Msg("could not start the plugin again")
	}
}

// drop cancels what is planned for the instance.
func (r *restarts) drop(callsign string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := r.of[callsign]; i != nil {
		i.drop()
	}
}

// forget deletes all that is known of an instance that is gone.
func (r *restarts) forget(callsign string) error {
	r.drop(callsign)
	r.saving.Lock()
	defer r.saving.Unlock()
	r.mu.Lock()
	delete(r.of, callsign)
	r.mu.Unlock()
	return r.kept.Delete(callsign)
}

// save writes the record of an instance as it is now.
func (r *restarts) save(callsign string) {
	r.saving.Lock()
	defer r.saving.Unlock()
	r.mu.Lock()
	i := r.of[callsign]
	var record restartRecord
	if i != nil {
		record = i.record
		record.Times = slices.Clone(record.Times)
	}
	r.mu.Unlock()
	var err error
	switch _, known, gerr := r.kept.Get(callsign); {
	case gerr != nil:
		err = gerr
	case i != nil && len(record.Times) > 0:
		err = r.kept.Put(callsign, record)
	case known:
		err = r.kept.Delete(callsign)
	}
	if err != nil {
		r.s.log.Error().Err(err).Str("callsign", callsign).Msg("could not keep the number of restarts")
	}
}

func (i *restarting) drop() {
	if i.cancel != nil {
		i.cancel()
		i.cancel = nil
	}
	i.next = time.Time{}
	i.plan++
}

// within are those of the times that the policy still counts. One far ahead was
// noted before the clock was set back, and says nothing.
func within(times []time.Time, policy configs.Restart) []time.Time {
	now, window := time.Now(), time.Duration(policy.Window)
	return slices.DeleteFunc(slices.Clone(times), func(at time.Time) bool {
		return at.Before(now.Add(-window)) || at.After(now.Add(2*window))
	})
}

// backoff is the pause before the restart that follows on so many: it doubles
// with each, up to the window, and is longer by up to a quarter, so that what
// ended together is not started together.
func backoff(policy configs.Restart, before int) time.Duration {
	pause := time.Duration(policy.Backoff)
	longest := max(pause, time.Duration(policy.Window))
	for range before {
		pause = min(2*pause, longest)
	}
	return pause + rand.N(pause/4+1)
}
