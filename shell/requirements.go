package shell

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// Requirements checks what an instance requires of the rest of the host: subsystems and
// other instances. The shell may call its methods while an operation of the instance
// runs; they must not ask the shell for another operation of the same instance.
type Requirements interface {
	// MayActivate returns nil if the instance may be activated, or an error that wraps
	// ErrPending and names the requirements that are not met. The information includes
	// the lists of the configuration.
	MayActivate(about Information) error
	// MayStayActive returns nil if the instance may stay active, or an error that wraps
	// ErrPending and names the requirements that no longer hold.
	MayStayActive(about Information) error
	// EndDependants is called before an active instance is deactivated, while it still
	// takes calls. It returns when the instances that depend on it have ended, or with
	// ctx.
	EndDependants(ctx context.Context)
}

// noRequirements are the Requirements of an instance that has none.
type noRequirements struct{}

func (noRequirements) MayActivate(Information) error   { return nil }
func (noRequirements) MayStayActive(Information) error { return nil }
func (noRequirements) EndDependants(context.Context)   {}

// Events under which checks wait for their turn. They change no state themselves.
const (
	recheckEvent Event = "reconsider"
	probeEvent   Event = "probe"
)

// Requires returns the callsigns of the instances that must be active for this one to be. The
// caller must not change them.
func (s *Shell) Requires() []string { return s.config.Load().Requires }

// ActivateIfWaiting activates an instance that waits for its requirements, if all are met
// now, for the reason of the request that made the instance wait. It does nothing to an
// instance in another state, and returns ErrPending if a requirement is still not met. The
// host calls it after each change that may meet a requirement.
func (s *Shell) ActivateIfWaiting(ctx context.Context) error {
	return s.runInLane(ctx, recheckEvent, s.activationTimeLimit(), func(ctx context.Context) error {
		st, _ := s.recordedStatus()
		if st.State != Precondition {
			return nil
		}
		return s.activateHoldingTurn(ctx, st.Reason)
	})
}

// DeactivateIfRequirementsLost ends an active plugin if the requirements of its instance no
// longer hold; the instance then waits for them. The host calls it after each change that
// may break one. A hibernated instance is left alone until it wakes.
func (s *Shell) DeactivateIfRequirementsLost(ctx context.Context) error {
	return s.runInLane(ctx, recheckEvent, s.deactivationTimeLimit(), func(ctx context.Context) error {
		if s.State() != Activated {
			return nil
		}
		_, err := s.endIfRequirementsLost(ctx)
		return err
	})
}

// ProbeProgram asks the program of a plugin that neither runs nor sleeps for its
// description, if the configuration allows that, and keeps the description; otherwise it
// does nothing. Every activation probes, too. Unlike other operations, ProbeProgram is
// given up when ctx ends.
func (s *Shell) ProbeProgram(ctx context.Context) error {
	return s.runInLane(ctx, probeEvent, s.activationTimeLimit(), func(limited context.Context) error {
		limited, cancel := context.WithCancel(limited)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		if s.unstartable != nil || !s.State().IsDown() {
			return nil
		}
		return s.probeProgramHoldingTurn(limited)
	})
}

// EffectiveInformation returns the plugin's description of itself, with the subsystems of
// the configuration added to its lists.
func (s *Shell) EffectiveInformation() Information {
	st := Status{Config: s.Config(), Information: s.information()}
	about := st.Information
	about.Preconditions, about.Terminations, about.Controls = st.Preconditions(), st.Terminations(), st.ControlledSubsystems()
	return about
}

// Preconditions returns the subsystems that must be up before the instance is activated:
// those of its configuration, then those of the plugin.
func (st Status) Preconditions() []string {
	return union(st.Config.Preconditions, st.Information.Preconditions)
}

// Terminations returns the states of subsystems that end the instance: those of its
// configuration, then those of the plugin.
func (st Status) Terminations() []string {
	return union(st.Config.Terminations, st.Information.Terminations)
}

// ControlledSubsystems returns the subsystems that the instance may set.
func (st Status) ControlledSubsystems() []string {
	return union(st.Config.Controls, st.Information.Controls)
}

// union returns a, then the elements of b that are not in a.
func union(a, b []string) []string {
	all := slices.Clone(a)
	known := make(map[string]bool, len(a)+len(b))
	for _, name := range a {
		known[name] = true
	}
	for _, name := range b {
		if !known[name] {
			known[name] = true
			all = append(all, name)
		}
	}
	return all
}

// probeAndCheckOrEnterPrecondition probes the program and checks the requirements of the
// instance, before the step for event. If some are not met, the instance is left in Precondition and the error
// wraps ErrPending. If the probe fails, the instance is deactivated with that error.
// Nothing is checked in a state that refuses the activation anyway.
func (s *Shell) probeAndCheckOrEnterPrecondition(ctx context.Context, event Event, why Reason) error {
	state := s.State()
	if _, ok := findRow(event, state); !ok {
		return nil // the step itself will be refused
	}
	if err := s.probeProgramHoldingTurn(ctx); err != nil {
		return s.takeStep(ctx, event, why, func(context.Context) error { return err })
	}
	unmet := s.unmetRequirements()
	if unmet != nil && state != Precondition {
		s.log.Info().Msgf("the plugin can't be activated yet, %v", unmet)
		if err := s.takeStep(ctx, Await, why, doNothing); err != nil {
			return err
		}
		unmet = s.unmetRequirements() // a change before the step did not reach this instance
	}
	if unmet != nil {
		return fmt.Errorf("cannot activate: %w", unmet)
	}
	return nil
}

// probeProgramHoldingTurn is ProbeProgram for a caller that has the turn. It does
// nothing to a built-in, and where the configuration asks for no probe. The error wraps
// ErrInstantiation unless the host shuts down.
func (s *Shell) probeProgramHoldingTurn(ctx context.Context) error {
	if s.process == nil || !s.Config().Probe {
		return nil
	}
	ctx, cancel := s.contextUntilShutdown(ctx, time.Duration(s.Config().StartTimeout))
	defer cancel()
	info, err := s.process.ProbeProgram(ctx)
	if err = shutdownErrorOr(ctx, err); err != nil && !errors.Is(err, ErrInstantiation) {
		err = fmt.Errorf("%w: %w", ErrInstantiation, err)
	}
	if err != nil {
		return err
	}
	info.StateControl = nil // the process that served it has ended
	s.setInformation(info)
	return nil
}

// loadKnownInformation sets the information of a plugin that an earlier host hibernated, if
// the backend knows it without starting the program.
func (s *Shell) loadKnownInformation() {
	if info, known := s.process.KnownInformation(); known {
		info.StateControl = nil
		s.setInformation(info)
	}
}

// endIfRequirementsLostInStart ends a plugin that has just started or woken if its
// requirements were lost meanwhile; the instance then waits for them. The error names the
// lost requirements.
func (s *Shell) endIfRequirementsLostInStart(ctx context.Context) error {
	lost, err := s.endIfRequirementsLost(ctx)
	if lost == nil {
		return nil
	}
	return fmt.Errorf("cannot stay active: %w", errors.Join(lost, err))
}

// endIfRequirementsLost ends the active plugin if its requirements no longer hold. lost
// names the lost requirements, and is nil if all hold; err is the error of the end.
func (s *Shell) endIfRequirementsLost(ctx context.Context) (lost, err error) {
	if lost = s.requirements.MayStayActive(s.EffectiveInformation()); lost != nil {
		s.log.Info().Msgf("the plugin has to end, %v", lost)
		err = s.endWithDependants(ctx, Lapse, Conditions)
	}
	return lost, err
}

// unmetRequirements returns an error that names the requirements that are not met, nil if
// the instance may be activated.
func (s *Shell) unmetRequirements() error {
	return s.requirements.MayActivate(s.EffectiveInformation())
}

// endDependantsUnlessClosing ends the instances that depend on this one and waits for
// that up to dependantsTimeLimit. It does nothing while the host shuts down, since the
// host orders the ends of all instances itself then.
func (s *Shell) endDependantsUnlessClosing(ctx context.Context) {
	if s.isClosing() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.dependantsTimeLimit())
	defer cancel()
	s.requirements.EndDependants(ctx)
}

// dependantsTimeLimit returns how long dependants may take to end: as long as this plugin
// alone, or 0 for an instance without Requirements.
func (s *Shell) dependantsTimeLimit() time.Duration {
	if s.requirements == (noRequirements{}) {
		return 0
	}
	return s.endTimeLimitAlone()
}
