package shell

import (
	"context"
	"fmt"
	"sync"
	"time"

	"dormouse/statecontrol"
)

// Events under which the operations on idle instances wait for their turn. They change
// no state themselves, and requests of clients don't join them.
const (
	suspendIdleEvent   Event = "suspend idle"
	hibernateIdleEvent Event = "hibernate idle"
	resumeUsedEvent    Event = "resume used"
)

// idlePhase says how far the host is with suspending an idle plugin.
type idlePhase int

const (
	notIdle        idlePhase = iota // the host has not suspended the plugin, or a client has asked for something since
	idleSuspending                  // the host is suspending the plugin
	idleSuspended                   // the host has suspended the plugin
	idleResuming                    // the host is about to resume the plugin, since it is used
)

// isSuspended reports whether the plugin is suspended by the host itself.
func (p idlePhase) isSuspended() bool { return p == idleSuspended || p == idleResuming }

// idleRecord holds when the plugin was last started or woken, and how far the host is with
// suspending the plugin because it is idle. Shell.mu guards the record.
type idleRecord struct {
	awakeSince time.Time // when the plugin was last started or woken
	phase      idlePhase
}

// UseStatus holds the state, the calls in flight and the last use of an instance at one
// moment.
type UseStatus struct {
	State   State
	Control statecontrol.State
	// AwakeSince is when the plugin was last started or woken, zero if it was never active.
	AwakeSince time.Time
	// LastUse is when the plugin was last used: the end of a call or stream, a start or
	// wake, or a change of state control that a client or the plugin caused.
	LastUse time.Time
	// Calls and Streams are in flight now.
	Calls, Streams int
	// Holds is how many calls of HoldAwake are not released yet.
	Holds int
	// Busy reports whether an operation runs or waits.
	Busy bool
	// IdleSuspended reports whether the host has suspended the plugin and resumes it when
	// it is used.
	IdleSuspended bool
	// CanHibernate reports whether the backend can hibernate at all.
	CanHibernate bool
	// StartExpected reports whether the host is yet to start the instance.
	StartExpected bool
	// InPlaceSince is since when the plugin sleeps in place, zero if it does not.
	InPlaceSince time.Time
}

// UseStatus returns how the instance is used now. It waits for no operation and is cheap.
func (s *Shell) UseStatus() UseStatus {
	lane := s.LaneStatus()
	var sleep *Sleep
	if s.process != nil {
		sleep = s.process.Sleep()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var inPlaceSince time.Time
	if s.state == Hibernated && sleep != nil && sleep.Kind == InPlace {
		inPlaceSince = s.since
	}
	calls, streams := s.inFlight.counts()
	holds := int(s.holds.Load())
	return UseStatus{
		State: s.state, Control: s.control, AwakeSince: s.idle.awakeSince, LastUse: s.lastUse(),
		Calls: calls, Streams: streams, Holds: holds, Busy: lane.Running != "" || len(lane.Waiting) > 0,
		IdleSuspended: s.idle.phase.isSuspended(), CanHibernate: s.process != nil, StartExpected: s.startExpected, InPlaceSince: inPlaceSince,
	}
}

// SuspendIdle suspends the plugin, or returns ErrInUse if a call is in flight or the
// plugin was used after unusedSince. The host resumes the plugin when it is next used or
// woken, unless a client asks for another state first.
func (s *Shell) SuspendIdle(ctx context.Context, unusedSince time.Time) error {
	return s.runInLane(ctx, suspendIdleEvent, s.deactivationTimeLimit(), func(ctx context.Context) error {
		if err := s.checkNotUsedSince(unusedSince); err != nil {
			return fmt.Errorf("cannot suspend: %w", err)
		}
		before := s.setIdlePhase(idleSuspending)
		err := s.takeStateControlStep(ctx, Suspend, statecontrol.Suspend, Automatic)
		s.replaceIdlePhase(idleSuspending, before)
		if err != nil {
			return err
		}
		if used := s.checkNotUsedSince(unusedSince); used != nil { // a call came meanwhile and goes first
			s.resumeIfIdleSuspended(ctx, Automatic)
			return fmt.Errorf("cannot suspend: %w", used)
		}
		return nil
	})
}

// HibernateIdle hibernates the suspended plugin, or returns ErrInUse and leaves the plugin
// as it was if a call is in flight or the plugin was used after unusedSince.
func (s *Shell) HibernateIdle(ctx context.Context, unusedSince time.Time) error {
	return s.runInLane(ctx, hibernateIdleEvent, s.hibernateTimeLimit, func(ctx context.Context) error {
		if s.process == nil {
			return fmt.Errorf("cannot hibernate: %w", ErrBuiltIn)
		}
		if err := s.checkNotUsedSince(unusedSince); err != nil {
			return fmt.Errorf("cannot hibernate: %w", err)
		}
		return s.takeStep(ctx, Hibernate, Automatic, func(ctx context.Context) error {
			if err := s.checkNotUsedSince(unusedSince); err != nil { // a call came in the last moment
				return fmt.Errorf("cannot hibernate: %w", err)
			}
			return s.drainAndHibernate(ctx)
		})
	})
}

// NoteIdleSuspended records that an earlier host suspended the plugin because it was idle,
// and then hibernated it.
func (s *Shell) NoteIdleSuspended() { s.setIdlePhase(idleSuspended) }

// checkNotUsedSince returns ErrInUse if a call or stream is in flight, or the plugin was
// used after since.
func (s *Shell) checkNotUsedSince(since time.Time) error {
	if calls, streams := s.inFlight.counts(); calls+streams > 0 {
		return fmt.Errorf("%w: %d calls and %d streams are under way", ErrInUse, calls, streams)
	}
	if s.holds.Load() > 0 {
		return fmt.Errorf("%w: tasks of it are under way", ErrInUse)
	}
	if s.lastUse().After(since) {
		return ErrInUse
	}
	return nil
}

// noteUse records that the plugin is used now.
func (s *Shell) noteUse() { s.noteUseAfter(0) }

// noteUseAfter records that the plugin is used after the duration, unless a later use is
// recorded already.
func (s *Shell) noteUseAfter(d time.Duration) {
	at := int64(time.Since(s.made) + d)
	for {
		last := s.lastUsed.Load()
		if last >= at || s.lastUsed.CompareAndSwap(last, at) {
			return
		}
	}
}

// KeepAwake has an active plugin count as used for that long from now on, so that the host does
// not put it to sleep by itself. It returns ErrIllegalState unless the plugin is active.
func (s *Shell) KeepAwake(d time.Duration) error {
	if s.virtual != nil {
		return s.virtual.Parent().KeepAwake(d)
	}
	if state := s.State(); state != Activated {
		return fmt.Errorf("cannot keep it awake: %w: it is %s", ErrIllegalState, state)
	}
	s.noteUseAfter(d)
	return nil
}

// HoldAwake has the plugin count as used until release is called, so that the host does not put
// it to sleep by itself. It neither wakes the plugin nor keeps clients from putting it to sleep.
func (s *Shell) HoldAwake() (release func()) {
	s.holds.Add(1)
	return sync.OnceFunc(func() {
		s.noteUse()
		s.holds.Add(-1)
	})
}

// lastUse returns when the plugin was last used, by the monotonic clock.
func (s *Shell) lastUse() time.Time { return s.made.Add(time.Duration(s.lastUsed.Load())) }

// resumeIfIdleSuspended resumes an active plugin, for the reason why, if the host itself
// suspended it. A failure is logged. The caller has the turn.
func (s *Shell) resumeIfIdleSuspended(ctx context.Context, why Reason) {
	s.mu.Lock()
	ours := s.idle.phase.isSuspended() && s.state == Activated && s.control == statecontrol.Suspended
	s.mu.Unlock()
	if !ours {
		return
	}
	if err := s.takeStateControlStep(ctx, Resume, statecontrol.Resume, why); err != nil {
		s.log.Warn().Err(err).Msg("could not resume the plugin, which was suspended because it was idle")
	}
}

// resumeIdleInBackground resumes a plugin that the host suspended, because a call has come.
// It does nothing if the host did not suspend the plugin. The call does not wait until the
// plugin is resumed. The caller holds mu.
func (s *Shell) resumeIdleInBackground() {
	if s.idle.phase != idleSuspended || s.closing {
		return
	}
	s.idle.phase = idleResuming
	s.background.Go(func() {
		_ = s.runInLane(context.Background(), resumeUsedEvent, s.activationTimeLimit(), func(ctx context.Context) error {
			s.resumeIfIdleSuspended(ctx, Automatic)
			return nil
		})
		s.replaceIdlePhase(idleResuming, idleSuspended) // if the plugin could not be resumed
	})
}

// idlePhase returns how far the host is with suspending the plugin because it is idle.
func (s *Shell) idlePhase() idlePhase {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.idle.phase
}

// setIdlePhase sets the phase and returns the one before.
func (s *Shell) setIdlePhase(to idlePhase) (before idlePhase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, s.idle.phase = s.idle.phase, to
	return before
}

// replaceIdlePhase sets the phase to the value of to, if it still has the value of from.
func (s *Shell) replaceIdlePhase(from, to idlePhase) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.idle.phase == from {
		s.idle.phase = to
	}
}

// updateForTransition records when the plugin has started or woken, and forgets the
// suspension of a plugin that has ended.
func (i *idleRecord) updateForTransition(t Transition) {
	switch {
	case t.To == Activated:
		if t.From != Hibernating {
			i.awakeSince = t.At
		}
	case !t.To.IsInSleepCycle():
		i.phase = notIdle
	}
}

// updateForControl records whether the plugin is suspended by the host itself, after its
// state control has changed to the state to. byHost reports whether the host caused this
// change; any other change means that the host does not resume the plugin.
func (i *idleRecord) updateForControl(to statecontrol.State) (byHost bool) {
	byHost = i.phase == idleSuspending && to == statecontrol.Suspended
	switch {
	case byHost:
		i.phase = idleSuspended
	case i.phase != idleSuspending:
		i.phase = notIdle
	}
	return byHost
}
