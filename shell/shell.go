// Package shell is one plugin instance: its lifecycle, the order of its
// operations and what its callers meet. It does not know how a plugin runs
// (its Backend does), nor that other instances exist.
package shell

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/statecontrol"
)

// Observer is told what happens to an instance, in order. Its methods must not
// block and must not call back into the shell's operations.
type Observer interface {
	Transition(t Transition)
	Notification(callsign string, n Notification)
}

// Shell is one instance. Its methods may be called from any goroutine.
type Shell struct {
	callsign       string
	config         atomic.Pointer[configs.Plugin] // replaced, never changed
	hibernateLimit time.Duration
	log            zerolog.Logger
	observer       Observer
	backend        Backend
	process        Process // nil when the backend is part of the host
	requirements   Requirements
	onDismissed    func()
	onPostMortem   func(why Reason, err error, evidence func() Evidence)

	shutdown      context.Context // ends when the host ends in order
	beginShutdown context.CancelFunc

	lane     *lane
	inFlight inFlight
	lastUsed atomic.Int64 // when somebody last used the plugin, since made
	made     time.Time
	// background holds the operations that nobody waits for: those that the
	// backend's reports or held calls began.
	background sync.WaitGroup

	observerTurn sync.Mutex // held from a change until the observer knows, so that it hears them in order

	mu           sync.Mutex // guards assignments only, never held while working
	state        State
	control      statecontrol.State
	reason       Reason
	since        time.Time
	failure      error
	info         Information
	generation   int  // counts processes, so that the end of an old one is told from that of the present
	changes      int  // counts transitions
	closing      bool // only deactivations follow
	history      []Transition
	held         holdQueue
	idle         idle
	warmth       warmth
	knownMethods map[string]bool // methods that the plugin has, or has not, as far as it was asked
}

// Options is what a Shell is made of.
type Options struct {
	Config configs.Plugin
	// HibernateTimeout bounds one hibernation or wake.
	HibernateTimeout time.Duration
	Log              zerolog.Logger
	Observer         Observer
	// Surroundings say when the instance may be active; nil when it always may.
	Requirements Requirements
	// Dismissed is called when somebody wants an instance to be down that is down
	// already; nil if nobody cares. It must not block.
	Dismissed func()
	// PostMortem is called before a plugin is cleared away, for whatever reason;
	// nil if nobody cares. Evidence collects what its backend can tell of it.
	PostMortem func(why Reason, err error, evidence func() Evidence)
	// Backend makes the backend, which reports to sink; config returns the configuration
	// as it is at the time of the call.
	Backend func(config func() configs.Plugin, sink Sink) Backend
}

// New returns an instance in its first state: hibernated if its backend finds
// an image from before, else unavailable or deactivated as its start mode says.
func New(o Options) *Shell {
	s := &Shell{
		callsign:       o.Config.Callsign,
		hibernateLimit: o.HibernateTimeout,
		log:            o.Log.With().Str("callsign", o.Config.Callsign).Logger(),
		observer:       o.Observer,
		requirements:   o.Requirements,
		onDismissed:    o.Dismissed,
		onPostMortem:   o.PostMortem,
		lane:           newLane(o.Config.Callsign),
		state:          Deactivated,
		reason:         Startup,
		since:          time.Now(),
		made:           time.Now(),
	}
	if s.requirements == nil {
		s.requirements = noRequirements{}
	}
	if s.onDismissed == nil {
		s.onDismissed = func() {}
	}
	s.shutdown, s.beginShutdown = context.WithCancel(context.Background())
	s.config.Store(&o.Config)
	s.inFlight.open()
	s.backend = o.Backend(s.Config, sink{s})
	s.process, _ = s.backend.(Process)
	switch {
	case s.process != nil && s.process.Sleep() != nil:
		s.state = Hibernated
		s.control = statecontrol.Suspended
		s.loadKnownInformation()
	case s.NeedsAdoption():
	case o.Config.StartMode == configs.StartUnavailable:
		s.state = Unavailable
	}
	return s
}

// Callsign is the instance's name.
func (s *Shell) Callsign() string { return s.callsign }

// Config is what the instance was made from, or what replaced it.
func (s *Shell) Config() configs.Plugin { return *s.config.Load() }

// Close makes the shell refuse every operation, and returns when nothing of it
// runs any more. The instance must have been deactivated, or be hibernated.
func (s *Shell) Close() {
	s.beginClosing()
	s.beginShutdown()
	s.background.Wait()
}

// IsBuiltIn tells that the plugin is part of the host.
func (s *Shell) IsBuiltIn() bool { return s.process == nil }

// Activate starts the plugin, or wakes it when it is hibernated. It does
// nothing when the plugin is active. Where something is missing that it needs,
// the instance waits for that and starts by itself; the error, each time, wraps
// ErrPending.
func (s *Shell) Activate(ctx context.Context, why Reason) error {
	return s.runInLane(ctx, Activate, s.activationLimit(), func(ctx context.Context) error {
		return s.activateInTurn(ctx, why)
	})
}

// Deactivate ends the plugin. A hibernated one is woken first, so that it can
// store what it wants to keep. It does nothing when the plugin is not running.
//
// With the reason Shutdown it is the last operation: what is not running stays
// as it is, also hibernated on disk, whatever waits or comes later is refused, and
// an activation that is under way is cut short.
func (s *Shell) Deactivate(ctx context.Context, why Reason) error {
	if why == Shutdown {
		s.beginClosing()
		s.beginShutdown()
	}
	return s.runInLane(ctx, Deactivate, s.deactivationLimit(), func(ctx context.Context) error {
		return s.deactivateInTurn(ctx, why)
	})
}

// MakeUnavailable bars a deactivated instance from being activated.
func (s *Shell) MakeUnavailable(ctx context.Context, why Reason) error {
	return s.runInLane(ctx, MakeUnavailable, time.Duration(s.Config().StopTimeout), func(ctx context.Context) error {
		if s.State() == Unavailable {
			return nil
		}
		return s.step(ctx, MakeUnavailable, why, func(context.Context) error { return nil })
	})
}

// Suspend asks the plugin to suspend. An instance without state control whose
// start mode is deactivated is deactivated instead.
func (s *Shell) Suspend(ctx context.Context, why Reason) error {
	return s.runInLane(ctx, Suspend, s.deactivationLimit(), func(ctx context.Context) error {
		s.setIdled(false) // whoever asks wants it to stay so
		if s.State() == Activated && s.information().StateControl == nil && s.Config().StartMode == configs.StartDeactivated {
			return s.deactivateInTurn(ctx, why)
		}
		return s.requestControl(ctx, Suspend, statecontrol.Suspend)
	})
}

// Resume asks the plugin to resume; it activates or wakes it before that if it
// must.
func (s *Shell) Resume(ctx context.Context, why Reason) error {
	return s.runInLane(ctx, Resume, s.activationLimit(), func(ctx context.Context) error {
		if s.State() != Activated {
			if err := s.activateInTurn(ctx, why); err != nil {
				return err
			}
			if s.isResumed() {
				return nil
			}
		}
		return s.requestControl(ctx, Resume, statecontrol.Resume)
	})
}

func (s *Shell) activateInTurn(ctx context.Context, why Reason) error {
	switch s.State() {
	case Activated:
		return nil
	case Hibernated:
		if err := s.process.PrepareWake(ctx); err != nil {
			return fmt.Errorf("cannot wake: %w", err) // it sleeps on
		}
		err := s.step(ctx, Wake, why, s.wakePlugin)
		if err == nil {
			s.noteActivated(why)
			s.resumeIfIdleSuspended(ctx)
			return s.checkAfterActivation(ctx)
		}
		if s.Config().OnFailedWake != configs.FailedWakeColdStart || s.isClosing() {
			return err
		}
		s.log.Warn().Err(err).Msg("could not wake the plugin, starting it cold")
		why = Automatic
	default:
	}
	if err := s.checkBeforeActivation(ctx, why); err != nil {
		return err
	}
	if err := s.step(ctx, Activate, why, s.startPlugin); err != nil {
		return err
	}
	s.noteActivated(why)
	return s.checkAfterActivation(ctx)
}

func (s *Shell) deactivateInTurn(ctx context.Context, why Reason) error {
	switch s.State() {
	case Deactivated:
		s.onDismissed()
		return nil
	case Unavailable, Precondition, Destroyed:
		if s.isClosing() {
			return nil
		}
	case Hibernated:
		if s.isClosing() && !s.sleepsInPlace() {
			return nil // the image waits for the next host
		}
		if err := s.process.PrepareWake(ctx); err != nil {
			return fmt.Errorf("cannot wake the plugin to deactivate it: %w", err)
		}
		s.wakeToEnd(ctx, why)
	default:
	}
	if s.State() == Deactivated {
		return nil
	}
	return s.endInstance(ctx, Deactivate, why)
}

// wakeToEnd wakes a hibernated plugin, that it may end in order. One that can't be
// woken has ended already.
func (s *Shell) wakeToEnd(ctx context.Context, why Reason) {
	if s.State() != Hibernated {
		return
	}
	if err := s.step(ctx, Wake, why, s.wakePlugin); err != nil {
		s.log.Warn().Err(err).Msg("could not wake the plugin to deactivate it")
	}
}

// endInstance steps out of any state for good, or until the next activation. Only a
// plugin that runs gives it work to do.
func (s *Shell) endInstance(ctx context.Context, event Event, why Reason) error {
	if s.State() != Activated {
		return s.step(ctx, event, why, func(context.Context) error { return nil })
	}
	s.endDependants(ctx)
	return s.step(ctx, event, why, func(ctx context.Context) error { return s.endPlugin(ctx, why) })
}

func (s *Shell) activationLimit() time.Duration {
	limit := 3*time.Duration(s.Config().StartTimeout) + s.hibernateLimit + time.Duration(s.Config().CallTimeout)
	if s.Config().WarmStart { // an attempt that comes to nothing, and the making of an image
		limit += 3*time.Duration(s.Config().StartTimeout) + s.hibernateLimit
	}
	return limit
}

func (s *Shell) deactivationLimit() time.Duration { return s.dependantsLimit() + s.endLimit() }

// endLimit is what ending the plugin alone may take.
func (s *Shell) endLimit() time.Duration {
	return s.hibernateLimit + 3*time.Duration(s.Config().StopTimeout)
}

// goUnlessClosing runs work in the background unless the shell is closing.
func (s *Shell) goUnlessClosing(work func()) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.background.Go(work)
	}
	return !s.closing
}

func (s *Shell) beginClosing() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
}

func (s *Shell) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

func (s *Shell) isResumed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.control == statecontrol.Resumed
}

func (s *Shell) information() Information {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info
}

func (s *Shell) setInformation(i Information) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.info = i
}

// reportTransition writes the one log line of a transition and passes it on.
func (s *Shell) reportTransition(t Transition) {
	event := s.log.Info()
	if t.Err != nil {
		event = s.log.Error().Err(t.Err)
	}
	if t.From == t.To {
		event.Msg(string(t.Control))
	} else {
		event.Str("from", string(t.From)).Str("reason", string(t.Reason)).Msg(string(t.To))
	}
	s.observer.Transition(t)
}
