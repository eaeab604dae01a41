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

// RestartStatus says how often the host has restarted a plugin that ended by itself.
type RestartStatus struct {
	// Count is the number of restarts within the window of the restart policy.
	Count int
	// GivenUp reports whether the limit was reached: only a request starts the plugin
	// now.
	GivenUp bool
	// Next is when the next restart is due, zero if none is planned.
	Next time.Time
}

// restarts plans and carries out the restarts of plugins that ended by themselves, as
// the restart policy of each instance says.
type restarts struct {
	s       *Supervisor
	records durableNotes[restartRecord]

	mu     sync.Mutex
	states map[string]*restartState // by callsign
}

// restartState holds the restarts of one instance, and the one that is planned.
type restartState struct {
	record     restartRecord
	next       time.Time // when the planned restart is due; zero if none is planned
	cancel     context.CancelFunc
	plan       int  // number of the plan, so that a canceled one can be told from the present one
	restarting bool // the activation under way is a restart
	retry      startRetry
}

// restartRecord is the part of a restartState that outlives the host.
type restartRecord struct {
	Version int         `json:"version"`
	Times   []time.Time `json:"times"` // of the restarts, oldest first
	GivenUp bool        `json:"given-up"`
}

// loadRestarts returns the restarts of a host, with the records that the earlier host
// kept.
func loadRestarts(s *Supervisor) (*restarts, error) {
	r := &restarts{s: s, states: make(map[string]*restartState)}
	r.records = durableNotes[restartRecord]{
		Bucket:  store.BucketOf[restartRecord](s.options.Store, "restarts"),
		current: r.currentRecord,
		log:     s.log, key: "callsign", failure: "could not keep the number of restarts",
	}
	records, err := r.records.All()
	for callsign, record := range records {
		r.states[callsign] = &restartState{record: record}
	}
	return r, err
}

// currentRecord returns a copy of the record of an instance to be kept on disk, false if
// there were no restarts.
func (r *restarts) currentRecord(callsign string) (record restartRecord, hasRestarts bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	state := r.states[callsign]
	if state == nil || len(state.record.Times) == 0 {
		return restartRecord{}, false
	}
	record = state.record
	record.Times = slices.Clone(record.Times)
	return record, true
}

// RestartStatus returns the restarts of an instance, the zero value for an unknown
// callsign.
func (s *Supervisor) RestartStatus(callsign string) RestartStatus {
	sh, ok := s.Shell(callsign)
	r := s.restarts
	r.mu.Lock()
	defer r.mu.Unlock()
	state := r.states[callsign]
	if !ok || state == nil {
		return RestartStatus{}
	}
	count := len(restartsWithinWindow(state.record.Times, sh.Config().Restart))
	return RestartStatus{Count: count, GivenUp: state.record.GivenUp, Next: state.next}
}

// planOrCancelRestart plans a restart when a plugin ended by itself, or failed to start
// at a restart, and the restart policy asks for that. When anything else happens to the
// instance, it cancels the plan; a requested activation also resets the count. It is
// called for each transition, in order.
func (r *restarts) planOrCancelRestart(t shell.Transition) {
	sh, ok := r.s.Shell(t.Callsign)
	if t.From == t.To || !ok {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	state := r.states[t.Callsign]
	if state == nil {
		state = &restartState{}
		r.states[t.Callsign] = state
	}
	failed := t.To == shell.Deactivated && (state.restarting && t.Event == shell.Activate || endedByItself(t))
	state.cancelPlannedRestart()
	retry := state.retry.note(t)
	switch t.To {
	case shell.Activation:
		if t.Event == shell.Adopt {
			return // the earlier host has counted this activation
		}
		state.restarting = t.Reason == shell.Automatic
		r.resetCountIfRequested(sh, state, t.Reason)
	case shell.Deactivation:
	default:
		state.restarting = false
	}
	if retry {
		r.planStartRetry(sh, state)
	} else if failed && policyAsksForRestart(sh.Config().Restart.Policy, t) {
		r.planRestartOrGiveUp(sh, state)
	}
}

// endedByItself reports whether t is an end that was not requested. A failed wake
// does not count, since the key on-failed-wake decides its consequences.
func endedByItself(t shell.Transition) bool {
	switch t.Reason {
	case shell.Failure, shell.MemoryExceeded, shell.WatchdogExpired:
		return t.Event == shell.Exit || t.Event == shell.Deactivate
	default:
		return false
	}
}

// policyAsksForRestart reports whether the policy asks for a restart after the end that t
// is: on-failure does not do so after a clean exit.
func policyAsksForRestart(policy configs.RestartPolicy, t shell.Transition) bool {
	exit, ok := errors.AsType[*shell.ExitError](t.Err)
	clean := ok && exit.IsClean() && t.Reason == shell.Failure
	return policy == configs.RestartAlways || policy == configs.RestartOnFailure && !clean
}

// resetCountIfRequested forgets earlier restarts at a requested activation. At the start
// of the host it only lifts GivenUp; at an activation by the host itself it does nothing.
// The record is saved in the background. The caller holds mu.
func (r *restarts) resetCountIfRequested(sh *shell.Shell, state *restartState, why shell.Reason) {
	switch why {
	case shell.Automatic, shell.Conditions:
		return
	case shell.Startup:
		state.record.GivenUp = false
	default:
		state.record = restartRecord{}
	}
	r.s.startBackground(func() { r.records.saveOrDeleteNote(sh.Callsign()) })
}

// planRestartOrGiveUp counts a restart and has the instance restarted after a pause, or
// gives the instance up if the limit is reached. The caller holds mu.
func (r *restarts) planRestartOrGiveUp(sh *shell.Shell, state *restartState) {
	policy := sh.Config().Restart
	record := &state.record
	record.Version = recordVersion
	record.Times = restartsWithinWindow(record.Times, policy)
	if len(record.Times) >= policy.Limit {
		record.GivenUp = true
		why := fmt.Sprintf("given up after %d restarts within %s, activate it to try again", len(record.Times), policy.Window)
		r.s.log.Error().Str("callsign", sh.Callsign()).Msg(why)
		r.s.startBackground(func() {
			r.records.saveOrDeleteNote(sh.Callsign())
			sh.NoteRestartsGivenUp(why)
		})
		return
	}
	delay := restartPauseWithJitter(policy, len(record.Times))
	record.Times = append(record.Times, time.Now().Add(delay))
	r.s.log.Info().Str("callsign", sh.Callsign()).Int("restart", len(record.Times)).Stringer("in", delay.Round(time.Millisecond)).Msg("will start the plugin again")
	// It is saved before the pause, so that a host killed during that has counted the restart.
	r.restartLater(sh, state, delay, func() { r.records.saveOrDeleteNote(sh.Callsign()) })
}

// restartLater does first, and restarts the instance after delay, both in the background. The
// caller holds mu.
func (r *restarts) restartLater(sh *shell.Shell, state *restartState, delay time.Duration, first func()) {
	state.next = time.Now().Add(delay)
	var ctx context.Context
	ctx, state.cancel = context.WithCancel(r.s.ctx)
	plan := state.plan
	r.s.startBackground(func() {
		first()
		r.restartAfter(ctx, delay, sh, state, plan)
	})
}

// restartAfter restarts the instance after delay, unless the plan is canceled before or the
// instance is no longer deactivated. It logs a failure.
func (r *restarts) restartAfter(ctx context.Context, delay time.Duration, sh *shell.Shell, state *restartState, planNumber int) {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
	}
	err := sh.RestartIf(ctx, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return state.plan == planNumber
	})
	if err != nil && ctx.Err() == nil {
		r.s.log.Warn().Err(err).Str("callsign", sh.Callsign()).Msg("could not start the plugin again")
	}
}

// cancelPlannedRestart cancels the planned restart of an instance, if any.
func (r *restarts) cancelPlannedRestart(callsign string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if state := r.states[callsign]; state != nil {
		state.cancelPlannedRestart()
	}
}

// cancelAndRemoveRecord cancels the planned restart of an instance that no longer exists,
// and deletes the record of its restarts, on disk too.
func (r *restarts) cancelAndRemoveRecord(callsign string) error {
	r.mu.Lock()
	if state := r.states[callsign]; state != nil {
		state.cancelPlannedRestart()
		delete(r.states, callsign)
	}
	r.mu.Unlock()
	return r.records.deleteNote(callsign)
}

// cancelPlannedRestart cancels the planned restart, if any. The caller holds the mu of
// restarts.
func (s *restartState) cancelPlannedRestart() {
	if s.cancel != nil {
		s.cancel()
		s.cancel = nil
	}
	s.next = time.Time{}
	s.plan++
}

// restartsWithinWindow returns the times of the restarts that the policy still counts. A
// time far ahead was noted before the clock was set back, and does not count.
func restartsWithinWindow(times []time.Time, policy configs.Restart) []time.Time {
	now, window := time.Now(), time.Duration(policy.Window)
	return slices.DeleteFunc(slices.Clone(times), func(at time.Time) bool {
		return at.Before(now.Add(-window)) || at.After(now.Add(2*window))
	})
}

// restartPauseWithJitter returns the pause before a restart. It doubles with each earlier
// restart, up to the window, and is longer by up to a quarter at random, so that plugins
// that ended together are not restarted together.
func restartPauseWithJitter(policy configs.Restart, earlierRestarts int) time.Duration {
	pause := time.Duration(policy.Backoff)
	longest := max(pause, time.Duration(policy.Window))
	for range earlierRestarts {
		pause = min(2*pause, longest)
	}
	return pause + rand.N(pause/4+1)
}
