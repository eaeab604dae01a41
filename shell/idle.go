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
	suspendIdle   Event = "suspend idle"
	hibernateIdle Event = "hibernate idle"
	resumeUsed    Event = "resume used"
)

// idle is what is known of the times without use. Shell.mu guards it.
type idle struct {
	awake      time.Time // when the plugin was started or woken last
	suspending bool      // the host is about to suspend it
	idled      bool      // the host has suspended it, and nobody has asked for anything else since
	resuming   bool      // the host is about to resume it
}

// Use is how an instance is used at one moment.
type Use struct {
	State   State
	Control statecontrol.State
	// Awake is when the plugin was started or woken last, zero if it never was.
	Awake time.Time
	// Last is when somebody used it last: the end of a call or a stream, its start
	// or wake, or when its state control changed on somebody's behalf.
	Last time.Time
	// Calls and Streams are on their way now.
	Calls, Streams int
	// Busy tells that an operation runs or waits.
	Busy bool
	// Idled tells that the host has suspended the plugin, which will be resumed
	// when it is used.
	Idled bool
	// Hibernates tells whether the backend could hibernate it at all.
	Hibernates bool
	// Paged is since when it sleeps in place, zero if it does not.
	Paged time.Time
}

// Use tells how the instance is used. It waits for nothing and costs next to
// nothing.
func (s *Shell) Use() Use {
	lane := s.Lane()
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
	calls, streams := s.flight.counts()
	return Use{
		State: s.state, Control: s.control, Awake: s.idle.awake, Last: s.lastUse(),
		Calls: calls, Streams: streams, Busy: lane.Job != "" || len(lane.Waiting) > 0,
		Idled: s.idle.idled, Hibernates: s.process != nil, Paged: paged,
	}
}

// SuspendIdle suspends the plugin unless it was used after the moment given: then
// it returns ErrInUse. It is resumed when it is used or woken next, unless
// somebody asks for something else before.
func (s *Shell) SuspendIdle(ctx context.Context, since time.Time) error {
	return s.operate(ctx, suspendIdle, s.deactivationLimit(), func(ctx context.Context) error {
		if err := s.usedSince(since); err != nil {
			return fmt.Errorf("cannot suspend: %w", err)
		}
		s.setSuspending(true)
		err := s.request(ctx, Suspend, statecontrol.Suspend)
		s.setSuspending(false)
		if err != nil {
			return err
		}
		if used := s.usedSince(since); used != nil { // meanwhile, and a call goes first
			s.rejoin(ctx)
			return fmt.Errorf("cannot suspend: %w", used)
		}
		return nil
	})
}

// HibernateIdle is Hibernate unless the plugin was used after the moment given:
// then it returns ErrInUse, and the plugin is what it was.
func (s *Shell) HibernateIdle(ctx context.Context, since time.Time) error {
	return s.operate(ctx, hibernateIdle, s.hibernateLimit, func(ctx context.Context) error {
		if s.process == nil {
			return fmt.Errorf("cannot hibernate: %w", ErrInProcess)
		}
		if err := s.usedSince(since); err != nil {
			return fmt.Errorf("cannot hibernate: %w", err)
		}
		return s.step(ctx, Hibernate, Automatic, func(ctx context.Context) error {
			if calls, streams := s.flight.counts(); calls+streams > 0 || s.lastUse().After(since) { // in the last moment
				return fmt.Errorf("cannot hibernate: %w", ErrInUse)
			}
			return s.hibernate(ctx)
		})
	})
}

// KeepIdled tells a hibernated instance what it was in the host before: suspended
// by that and not by anybody's request.
func (s *Shell) KeepIdled() { s.setIdled(true) }

// usedSince is ErrInUse when the plugin is used now, or was after the moment.
func (s *Shell) usedSince(since time.Time) error {
	if calls, streams := s.flight.counts(); calls+streams > 0 {
		return fmt.Errorf("%w: %d calls and %d streams are under way", ErrInUse, calls, streams)
	}
	if s.lastUse().After(since) {
		return ErrInUse
	}
	return nil
}

// touch notes that the plugin is used.
func (s *Shell) touch() { s.used.Store(int64(time.Since(s.made))) }

// lastUse counts on no clock that can be set.
func (s *Shell) lastUse() time.Time { return s.made.Add(time.Duration(s.used.Load())) }

// rejoin resumes the plugin if it was the host that suspended it. The caller has
// the turn.
func (s *Shell) rejoin(ctx context.Context) {
	s.mu.Lock()
	ours := s.idle.idled && s.state == Activated && s.control == statecontrol.Suspended
	s.mu.Unlock()
	if !ours {
		return
	}
	if err := s.request(ctx, Resume, statecontrol.Resume); err != nil {
		s.log.Warn().Err(err).Msg("could not resume the plugin, which was suspended since nobody used it")
	}
}

// rejoinLater resumes the plugin because it is used, in the background, since a
// suspended one takes calls too. The caller holds mu.
func (s *Shell) rejoinLater() {
	if !s.idle.idled || s.idle.resuming || s.closing {
		return
	}
	s.idle.resuming = true
	s.background.Go(func() {
		_ = s.operate(context.Background(), resumeUsed, s.activationLimit(), func(ctx context.Context) error {
			s.rejoin(ctx)
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
