package shell

import (
	"context"
	"fmt"
	"time"

	"dormouse/statecontrol"
)

// These wait for their turn like the operations that they are, but nobody's
// request joins them.
const (
	suspendIdleEvent   Event = "suspend idle"
	hibernateIdleEvent Event = "hibernate idle"
	resumeUsedEvent    Event = "resume used"
)

// idle is what is known of the times without use. Shell.mu guards it.
type idle struct {
	awake      time.Time // when the plugin was started or woken last
	suspending bool      // the host is about to suspend it
	idled      bool      // the host has suspended it, and nobody has asked for anything else since
	resuming   bool      // the host is about to resume it
}

// Usage is how an instance is used at one moment.
type Usage struct {
	State   State
	Control statecontrol.State
	// Awake is when the plugin was started or woken last, zero if it never was.
	AwakeSince time.Time
	// Last is when somebody used it last: the end of a call or a stream, its start
	// or wake, or when its state control changed on somebody's behalf.
	LastUse time.Time
	// Calls and Streams are on their way now.
	Calls, Streams int
	// Busy tells that an operation runs or waits.
	Busy bool
	// Idled tells that the host has suspended the plugin, which will be resumed
	// when it is used.
	IdleSuspended bool
	// Hibernates tells whether the backend could hibernate it at all.
	CanHibernate bool
	// Paged is since when it sleeps in place, zero if it does not.
	InPlaceSince time.Time
}

// Usage tells how the instance is used. It waits for nothing and costs next to
// nothing.
func (s *Shell) Usage() Usage {
	lane := s.LaneStatus()
	var sleep *Sleep
	if s.process != nil {
		sleep = s.process.Sleep()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var paged time.Time
	if s.state == Hibernated && sleep != nil && sleep.Kind == InPlace {
		paged = s.since
	}
	calls, streams := s.inFlight.counts()
	return Usage{
		State: s.state, Control: s.control, AwakeSince: s.idle.awake, LastUse: s.lastUse(),
		Calls: calls, Streams: streams, Busy: lane.Job != "" || len(lane.Waiting) > 0,
		IdleSuspended: s.idle.idled, CanHibernate: s.process != nil, InPlaceSince: paged,
	}
}

// SuspendIdle suspends the plugin unless it was used after the moment given: then
// it returns ErrInUse. It is resumed when it is used or woken next, unless
// somebody asks for something else before.
func (s *Shell) SuspendIdle(ctx context.Context, since time.Time) error {
	return s.runInLane(ctx, suspendIdleEvent, s.deactivationLimit(), func(ctx context.Context) error {
		if err := s.inUseSince(since); err != nil {
			return fmt.Errorf("cannot suspend: %w", err)
		}
		s.setSuspending(true)
		err := s.requestControl(ctx, Suspend, statecontrol.Suspend)
		s.setSuspending(false)
		if err != nil {
			return err
		}
		if used := s.inUseSince(since); used != nil { // meanwhile, and a call goes first
			s.resumeIfIdleSuspended(ctx)
			return fmt.Errorf("cannot suspend: %w", used)
		}
		return nil
	})
}

// HibernateIdle is Hibernate unless the plugin was used after the moment given:
// then it returns ErrInUse, and the plugin is what it was.
func (s *Shell) HibernateIdle(ctx context.Context, since time.Time) error {
	return s.runInLane(ctx, hibernateIdleEvent, s.hibernateLimit, func(ctx context.Context) error {
		if s.process == nil {
			return fmt.Errorf("cannot hibernate: %w", ErrBuiltIn)
		}
		if err := s.inUseSince(since); err != nil {
			return fmt.Errorf("cannot hibernate: %w", err)
		}
		return s.step(ctx, Hibernate, Automatic, func(ctx context.Context) error {
			if calls, streams := s.inFlight.counts(); calls+streams > 0 || s.lastUse().After(since) { // in the last moment
				return fmt.Errorf("cannot hibernate: %w", ErrInUse)
			}
			return s.hibernatePlugin(ctx)
		})
	})
}

// NoteIdleSuspended tells a hibernated instance what it was in the host before: suspended
// by that and not by anybody's request.
func (s *Shell) NoteIdleSuspended() { s.setIdled(true) }

// inUseSince is ErrInUse when the plugin is used now, or was after the moment.
func (s *Shell) inUseSince(since time.Time) error {
	if calls, streams := s.inFlight.counts(); calls+streams > 0 {
		return fmt.Errorf("%w: %d calls and %d streams are under way", ErrInUse, calls, streams)
	}
	if s.lastUse().After(since) {
		return ErrInUse
	}
	return nil
}

// noteUse notes that the plugin is used.
func (s *Shell) noteUse() { s.lastUsed.Store(int64(time.Since(s.made))) }

// lastUse counts on no clock that can be set.
func (s *Shell) lastUse() time.Time { return s.made.Add(time.Duration(s.lastUsed.Load())) }

// resumeIfIdleSuspended resumes the plugin if it was the host that suspended it. The caller has
// the turn.
func (s *Shell) resumeIfIdleSuspended(ctx context.Context) {
	s.mu.Lock()
	ours := s.idle.idled && s.state == Activated && s.control == statecontrol.Suspended
	s.mu.Unlock()
	if !ours {
		return
	}
	if err := s.requestControl(ctx, Resume, statecontrol.Resume); err != nil {
		s.log.Warn().Err(err).Msg("could not resume the plugin, which was suspended since nobody used it")
	}
}

// resumeInBackground resumes the plugin because it is used, in the background, since a
// suspended one takes calls too. The caller holds mu.
func (s *Shell) resumeInBackground() {
	if !s.idle.idled || s.idle.resuming || s.closing {
		return
	}
	s.idle.resuming = true
	s.background.Go(func() {
		_ = s.runInLane(context.Background(), resumeUsedEvent, s.activationLimit(), func(ctx context.Context) error {
			s.resumeIfIdleSuspended(ctx)
			return nil
		})
		s.mu.Lock()
		defer s.mu.Unlock()
		s.idle.resuming = false
	})
}

func (s *Shell) setIdled(idled bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle.idled = idled
}

func (s *Shell) setSuspending(suspending bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.idle.suspending = suspending
}

// enter follows the lifecycle.
func (i *idle) enter(t Transition) {
	switch t.To {
	case Activated:
		if t.From != Hibernating {
			i.awake = t.At
		}
	case Hibernating, Hibernated, Waking:
	default:
		i.idled = false
	}
}

// controlled follows the state control, and tells whether the change is the
// host's own.
func (i *idle) controlled(to statecontrol.State) bool {
	i.idled = i.suspending && to == statecontrol.Suspended
	return i.idled
}
