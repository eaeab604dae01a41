// Package shell holds one plugin instance: its lifecycle state, the queue of its
// operations, and the admission of calls. It does not know how a plugin runs, which its
// Backend does, or that other instances exist.
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

// Observer is told of the transitions and events of an instance, in order. Its methods
// must not block and must not call operations of the shell.
type Observer interface {
	Transition(t Transition)
	Notification(callsign string, n Notification)
}

// Shell is one plugin instance. Its methods may be called from any goroutine.
type Shell struct {
	callsign           string
	config             atomic.Pointer[configs.Plugin] // replaced as a whole, never changed
	hibernateTimeLimit time.Duration
	log                zerolog.Logger
	observer           Observer
	backend            Backend
	process            Process // the backend, nil for a built-in and a virtual plugin
	virtual            Virtual // the backend of a virtual plugin, nil for any other
	requirements       Requirements
	unstartable        error // why the instance is never activated, nil for no cause
	refusal            func() error
	beforeStart        func(to configs.Plugin) func(context.Context) error
	onDismissed        func()
	onDescribed        func()
	declared           func() Profile           // nil for an instance of which nothing else says anything
	contract           atomic.Pointer[contract] // nil for a plugin without schemas
	onPostMortem       func(why Reason, err error, evidence func() Evidence)
	onLost             func(Loss)

	shutdown      context.Context // ends when the host begins to shut down
	beginShutdown context.CancelFunc
	leaving       context.Context // ends when the shell begins to refuse operations
	beginLeaving  context.CancelFunc

	lane     *lane
	inFlight inFlight
	lastUsed atomic.Int64 // when the plugin was last used, in nanoseconds since made
	holds    atomic.Int32 // calls of HoldAwake that are not released yet
	made     time.Time
	// background holds the goroutines of operations that the backend's reports or held
	// calls started.
	background sync.WaitGroup

	observing sync.Mutex // held from a change until the observer knows it, so that changes are told in order

	mu         sync.Mutex // guards the fields below; never held during work
	state      State
	control    statecontrol.State
	reason     Reason
	since      time.Time // when state was entered
	failure    error     // the error that led to state, nil for none
	info       Information
	generation int  // number of the plugin's process; a report about an earlier process is ignored
	changes    int  // number of changes of the status so far
	closing    bool // only deactivations are accepted
	history    []Transition
	held       holdQueue
	// startExpected reports whether the host, which is starting, is yet to start the
	// instance.
	startExpected bool
	// replacing reports whether calls wait for the plugin that replaces the present one.
	replacing    bool
	idle         idleRecord
	failedWakes  failedWakes
	requested    controlRequest
	warmStarts   warmStartRecord
	knownMethods map[string]bool // by name, whether the plugin has the method
}

// Options are the parameters of New.
type Options struct {
	Config configs.Plugin
	// HibernateTimeout bounds one hibernation or wake.
	HibernateTimeout time.Duration
	Log              zerolog.Logger
	Observer         Observer
	// Requirements checks when the instance may be active; nil means always.
	Requirements Requirements
	// Unstartable, if not nil, is why the instance must never be activated. The instance is then
	// deactivated, with that error in its status, whatever an earlier host left of it.
	Unstartable error
	// Refusal returns why the instance is not activated, and takes no call while it is not
	// active, nil if it may. It must not block. A nil Refusal refuses nothing.
	Refusal func() error
	// BeforeStart returns the work that must be done before the plugin is started with the
	// configuration to, nil for none; if the work fails, the plugin is not started. BeforeStart
	// must not block; the work ends early with its context. With nil there is never any.
	BeforeStart func(to configs.Plugin) (work func(context.Context) error)
	// Dismissed, if not nil, is called when a deactivation finds the instance deactivated
	// already. It must not block.
	Dismissed func()
	// Described, if not nil, is called when the plugin describes itself in another way than
	// before. It must not block. New may call it.
	Described func()
	// Declared, if not nil, returns what a package says of the instance, besides what its plugin
	// says itself. It must not block.
	Declared func() Profile
	// PostMortem, if not nil, is called before the process of a plugin is cleared away.
	// evidence collects what the backend can find out about the end.
	PostMortem func(why Reason, err error, evidence func() Evidence)
	// Lost, if not nil, is called when the state of a hibernated plugin is given up: after a
	// wake that failed for a lasting cause or of an image that can't be trusted, or to make
	// room. It must not block. New calls it for an image that was found to be useless.
	Lost func(Loss)
	// Backend makes the instance's backend, which reports to sink. config returns the
	// configuration as it is at the time of the call.
	Backend func(config func() configs.Plugin, sink Sink) Backend
}

// New returns an instance in its first state: hibernated if its backend sleeps since an
// earlier host, otherwise unavailable or deactivated by its start mode. An instance that
// needs adoption is deactivated until Adopt.
func New(o Options) *Shell {
	s := &Shell{
		callsign:           o.Config.Callsign,
		hibernateTimeLimit: o.HibernateTimeout,
		log:                o.Log.With().Str("callsign", o.Config.Callsign).Logger(),
		observer:           o.Observer,
		requirements:       o.Requirements,
		unstartable:        o.Unstartable,
		refusal:            o.Refusal,
		beforeStart:        o.BeforeStart,
		onDismissed:        o.Dismissed,
		onDescribed:        o.Described,
		declared:           o.Declared,
		onPostMortem:       o.PostMortem,
		onLost:             o.Lost,
		lane:               newLane(o.Config.Callsign),
		state:              Deactivated,
		reason:             Startup,
		since:              time.Now(),
		made:               time.Now(),
	}
	if s.refusal == nil {
		s.refusal = func() error { return nil }
	}
	if s.beforeStart == nil {
		s.beforeStart = func(configs.Plugin) func(context.Context) error { return nil }
	}
	if s.requirements == nil {
		s.requirements = noRequirements{}
	}
	if s.onDismissed == nil {
		s.onDismissed = func() {}
	}
	if s.onDescribed == nil {
		s.onDescribed = func() {}
	}
	s.shutdown, s.beginShutdown = context.WithCancel(context.Background())
	s.leaving, s.beginLeaving = context.WithCancel(context.Background())
	s.config.Store(&o.Config)
	s.backend = o.Backend(s.Config, sink{s})
	s.process, _ = s.backend.(Process)
	s.virtual, _ = s.backend.(Virtual)
	if s.virtual == nil {
		s.inFlight.renewContexts() // the parent counts the calls of a virtual plugin
	}
	switch {
	case s.unstartable != nil:
	case s.virtual != nil:
		s.state = firstVirtualState(s.virtual.Parent().State())
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

// Callsign returns the name of the instance.
func (s *Shell) Callsign() string { return s.callsign }

// Config returns the present configuration of the instance.
func (s *Shell) Config() configs.Plugin { return *s.config.Load() }

// Unstartable returns why the instance is not activated, nil for an instance that may be.
func (s *Shell) Unstartable() error {
	if s.unstartable != nil {
		return s.unstartable
	}
	return s.refusal()
}

// Close makes the shell refuse every operation but Deactivate, gives up an activation that
// is under way, and returns when no goroutine of the shell runs any more. The instance must
// be deactivated or hibernated.
func (s *Shell) Close() {
	s.refuseAllButDeactivate()
	s.beginShutdown()
	s.background.Wait()
}

// Notify sends an event to the subscribers of the instance.
func (s *Shell) Notify(n Notification) { s.observer.Notification(s.callsign, n) }

// IsBuiltIn reports whether the instance is part of the host.
func (s *Shell) IsBuiltIn() bool { return s.process == nil && s.virtual == nil }

// Activate starts the plugin, or wakes it if it is hibernated. It does nothing if the
// plugin is active. If a requirement is not met, the instance waits in Precondition and
// starts when all are met; the error then wraps ErrPending. If a wake can't be now, the error
// is an *AsleepError; if it can't ever be and the configuration says so, the plugin is started
// cold.
func (s *Shell) Activate(ctx context.Context, why Reason) error {
	if s.virtual != nil {
		return s.operateVirtual(ctx, Activate, why)
	}
	return s.runInLane(ctx, Activate, s.activationTimeLimit(), func(ctx context.Context) error {
		return s.activateHoldingTurn(ctx, why)
	})
}

// Deactivate ends the plugin, after the instances that depend on it. A hibernated plugin is
// woken first, so that it can store its state; if that can't be now, the error is an
// *AsleepError and the plugin sleeps on. An instance that is unavailable or waits for
// its requirements becomes deactivated. For a deactivated one Deactivate only calls
// Options.Dismissed, and its start is no longer expected.
//
// With the reason Shutdown it is the last operation: instances that don't run stay as they
// are, also hibernated on disk; operations that wait or come later are refused, and an
// activation that is under way is given up.
func (s *Shell) Deactivate(ctx context.Context, why Reason) error {
	if why == Shutdown {
		s.refuseAllButDeactivate()
		s.beginShutdown()
	}
	if s.virtual != nil {
		return s.operateVirtual(ctx, Deactivate, why)
	}
	return s.runInLane(ctx, Deactivate, s.deactivationTimeLimit(), func(ctx context.Context) error {
		return s.deactivateHoldingTurn(ctx, why)
	})
}

// DeactivateIfActive deactivates the instance if it is activated when its turn comes. It
// never wakes the plugin.
func (s *Shell) DeactivateIfActive(ctx context.Context, why Reason) error {
	return s.runInLane(ctx, Deactivate, s.deactivationTimeLimit(), func(ctx context.Context) error {
		if s.State() != Activated {
			return nil
		}
		return s.deactivateHoldingTurn(ctx, why)
	})
}

// MakeUnavailable keeps a deactivated instance from being activated until it is deactivated
// again. It returns ErrIllegalState unless the instance is deactivated or unavailable.
func (s *Shell) MakeUnavailable(ctx context.Context, why Reason) error {
	if s.virtual != nil {
		return s.operateVirtual(ctx, MakeUnavailable, why)
	}
	return s.runInLane(ctx, MakeUnavailable, time.Duration(s.Config().StopTimeout), func(ctx context.Context) error {
		if s.State() == Unavailable {
			return nil
		}
		return s.takeStep(ctx, MakeUnavailable, why, doNothing)
	})
}

// Suspend asks the plugin to suspend, and the host no longer resumes the plugin when it is
// used. An instance without state control is deactivated instead if its start mode is
// deactivated, otherwise the error wraps ErrNoStateControl. The error wraps ErrIllegalState
// if the plugin is suspended already.
func (s *Shell) Suspend(ctx context.Context, why Reason) error {
	return s.runInLane(ctx, Suspend, s.deactivationTimeLimit(), func(ctx context.Context) error {
		s.setIdlePhase(notIdle) // the plugin is to stay suspended when it is used
		if s.State() == Activated && s.information().StateControl == nil && s.Config().StartMode == configs.StartDeactivated {
			return s.deactivateHoldingTurn(ctx, why)
		}
		return s.takeStateControlStep(ctx, Suspend, statecontrol.Suspend, why)
	})
}

// Resume asks the plugin to resume. An instance that is not active is activated or woken
// first. The error wraps ErrNoStateControl if the plugin has no state control, and
// ErrIllegalState if the plugin was active and resumed before.
func (s *Shell) Resume(ctx context.Context, why Reason) error {
	return s.runInLane(ctx, Resume, s.activationTimeLimit(), func(ctx context.Context) error {
		if s.State() != Activated {
			if err := s.activateHoldingTurn(ctx, why); err != nil {
				return err
			}
			if _, control := s.StateAndControl(); control == statecontrol.Resumed {
				return nil
			}
		}
		return s.takeStateControlStep(ctx, Resume, statecontrol.Resume, why)
	})
}

// Destroy ends the instance for good and removes its golden image. A plugin that runs is
// deactivated first; a hibernated plugin is woken and then deactivated, or sleeps on as with
// Deactivate. A destroyed shell refuses every operation; the host must still call Close.
func (s *Shell) Destroy(ctx context.Context, why Reason) error {
	return s.runInLane(ctx, Destroy, s.deactivationTimeLimit(), func(ctx context.Context) error {
		return s.destroyHoldingTurn(ctx, why)
	})
}

// activateHoldingTurn is Activate for a caller that has the turn.
func (s *Shell) activateHoldingTurn(ctx context.Context, why Reason) error {
	if cause := s.Unstartable(); cause != nil {
		return fmt.Errorf("cannot activate: %w: %w", ErrIllegalState, cause)
	}
	switch s.State() {
	case Activated:
		return nil
	case Hibernated:
		err := s.wakeToRun(ctx, why)
		if err == nil && s.State() == Deactivated {
			break // its sleep was outdated: it is started with the present configuration
		}
		if err == nil {
			s.saveActivationReason(why)
			s.resumeIfIdleSuspended(ctx, why)
			return s.endIfRequirementsLostInStart(ctx)
		}
		if isAsleepError(err) || s.Config().OnFailedWake != configs.FailedWakeColdStart || s.isClosing() {
			return err
		}
		s.log.Warn().Err(err).Msg("could not wake the plugin, starting it cold")
		why = Automatic
	default:
	}
	if err := s.probeAndCheckOrEnterPrecondition(ctx, Activate, why); err != nil {
		return err
	}
	if err := s.takeStep(ctx, Activate, why, func(ctx context.Context) error { return s.startWarmOrCold(ctx, "") }); err != nil {
		return err
	}
	s.saveActivationReason(why)
	return s.endIfRequirementsLostInStart(ctx)
}

// deactivateHoldingTurn is Deactivate for a caller that has the turn.
func (s *Shell) deactivateHoldingTurn(ctx context.Context, why Reason) error {
	switch s.State() {
	case Deactivated:
		s.EndExpectedStart()
		s.onDismissed()
		return nil
	case Unavailable, Precondition, Destroyed:
		if s.isClosing() {
			return nil
		}
	case Hibernated:
		if s.isClosing() && !s.sleepsInPlace() {
			return nil // the next host will find the image
		}
		err := s.wakeToEnd(ctx, why)
		if err != nil && s.isClosing() { // it sleeps in place, and ends with the host
			return s.endWithoutWake(ctx, cause{why, err})
		}
		if err != nil {
			return fmt.Errorf("cannot deactivate: %w", err)
		}
	default:
	}
	if s.State() == Deactivated {
		return nil
	}
	return s.endWithDependants(ctx, Deactivate, why)
}

// destroyHoldingTurn is Destroy for a caller that has the turn.
func (s *Shell) destroyHoldingTurn(ctx context.Context, why Reason) error {
	if s.State() == Hibernated {
		if err := s.wakeToEnd(ctx, why); err != nil {
			return fmt.Errorf("cannot destroy: %w", err)
		}
	}
	err := s.endWithDependants(ctx, Destroy, why)
	if s.wantsWarmStart() && s.State() == Destroyed {
		s.process.InvalidateGolden(errDestroyed)
	}
	return err
}

// endWithDependants takes the step for event, which ends the instance. If the instance
// is active, its dependants end first, and then its plugin.
func (s *Shell) endWithDependants(ctx context.Context, event Event, why Reason) error {
	if s.State() != Activated {
		return s.takeStep(ctx, event, why, doNothing)
	}
	s.endDependantsUnlessClosing(ctx)
	return s.takeStep(ctx, event, why, func(ctx context.Context) error { return s.drainAndEndPlugin(ctx, why) })
}

// goUnlessClosing runs work in the background, or not at all if the shell is closing.
func (s *Shell) goUnlessClosing(work func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closing {
		s.background.Go(work)
	}
}

// refuseAllButDeactivate makes the shell refuse all further operations except
// Deactivate, and calls that wait for an expected start, and start no more of its own in the
// background.
func (s *Shell) refuseAllButDeactivate() {
	defer s.beginLeaving()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closing = true
	s.endExpectedStart()
}

// isClosing reports whether the host is shutting the instance down or closing the shell.
func (s *Shell) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}
