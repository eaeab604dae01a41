package shell

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// These wait for their turn like operations, but change no state by themselves.
const (
	recheckEvent Event = "reconsider"
	probeEvent   Event = "probe"
)

// ActivateIfWaiting is to be called when the surroundings have changed for the
// better. It activates an instance that waits, for the reason it was asked to be
// activated, unless something is missing still.
func (s *Shell) ActivateIfWaiting(ctx context.Context) error {
	return s.runInLane(ctx, recheckEvent, s.activationLimit(), func(ctx context.Context) error {
		st, _ := s.recordedStatus()
		if st.State != Precondition {
			return nil
		}
		return s.activateInTurn(ctx, st.Reason)
	})
}

// DeactivateIfUnmet is to be called when the surroundings have changed for the
// worse. It ends an active instance that can't be without what is gone, until
// that is back. A hibernated one is left alone until it wakes.
func (s *Shell) DeactivateIfUnmet(ctx context.Context) error {
	return s.runInLane(ctx, recheckEvent, s.deactivationLimit(), func(ctx context.Context) error {
		if s.State() != Activated {
			return nil
		}
		_, err := s.lapseIfUnmet(ctx)
		return err
	})
}

// Probe asks a plugin that is neither running nor hibernated what it needs, if its
// backend and its configuration allow that. Activations do so by themselves. Other
// than they, it is given up when ctx ends: it changes nothing.
func (s *Shell) Probe(ctx context.Context) error {
	return s.runInLane(ctx, probeEvent, s.activationLimit(), func(limited context.Context) error {
		limited, cancel := context.WithCancel(limited)
		defer cancel()
		defer context.AfterFunc(ctx, cancel)()
		switch s.State() {
		case Deactivated, Unavailable, Precondition:
			return s.probe(limited)
		default:
			return nil
		}
	})
}

// EffectiveInformation is what is known of the plugin by its own words, with the subsystems
// that the configuration names added to its lists.
func (s *Shell) EffectiveInformation() Information {
	st := Status{Config: s.Config(), Information: s.information()}
	about := st.Information
	about.Preconditions, about.Terminations, about.Controls = st.Preconditions(), st.Terminations(), st.Controls()
	return about
}

// Preconditions are the subsystems that must be up before the instance is
// activated: those of its configuration, then those of the plugin.
func (st Status) Preconditions() []string {
	return union(st.Config.Preconditions, st.Information.Preconditions)
}

// Terminations are the states of subsystems that end the instance.
func (st Status) Terminations() []string {
	return union(st.Config.Terminations, st.Information.Terminations)
}

// Controls are the subsystems that the instance sets.
func (st Status) Controls() []string {
	return union(st.Config.Controls, st.Information.Controls)
}

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, name := range b {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}

// checkBeforeActivation learns what the plugin needs, and leaves the instance waiting when that
// is not there.
func (s *Shell) checkBeforeActivation(ctx context.Context, why Reason) error {
	state := s.State()
	if _, ok := findRow(Activate, state); !ok {
		return nil // it will be refused
	}
	if err := s.probe(ctx); err != nil {
		return s.step(ctx, Activate, why, func(context.Context) error { return err })
	}
	missing := s.unmetRequirements()
	if missing != nil && state != Precondition {
		s.log.Info().Msgf("the plugin can't be activated yet, %v", missing)
		if err := s.step(ctx, Await, why, func(context.Context) error { return nil }); err != nil {
			return err
		}
		missing = s.unmetRequirements() // it may have come before anybody knew who waits for it
	}
	if missing != nil {
		return fmt.Errorf("cannot activate: %w", missing)
	}
	return nil
}

// probe is cheap when the program is the one that was probed last: the backend
// remembers. An executable may be replaced whenever nothing runs.
func (s *Shell) probe(ctx context.Context) error {
	if s.process == nil || !s.Config().Probe {
		return nil
	}
	ctx, cancel := s.untilShutdown(ctx, time.Duration(s.Config().StartTimeout))
	defer cancel()
	info, err := s.process.Probe(ctx)
	if err = shutdownError(ctx, err); err != nil && !errors.Is(err, ErrInstantiation) {
		err = fmt.Errorf("%w: %w", ErrInstantiation, err)
	}
	if err != nil {
		return err
	}
	info.StateControl = nil // that of a process which has ended
	s.setInformation(info)
	return nil
}

// loadKnownInformation learns of a plugin that sleeps since before the host began what it said
// when it last ran.
func (s *Shell) loadKnownInformation() {
	if info, known := s.process.KnownInformation(); known {
		info.StateControl = nil
		s.setInformation(info)
	}
}

// checkAfterActivation ends the plugin again when what it can't be without went while it came
// up.
func (s *Shell) checkAfterActivation(ctx context.Context) error {
	lost, err := s.lapseIfUnmet(ctx)
	if lost == nil {
		return nil
	}
	return fmt.Errorf("cannot stay active: %w", errors.Join(lost, err))
}

// lapseIfUnmet ends the active plugin until its conditions are back, if any is lost.
func (s *Shell) lapseIfUnmet(ctx context.Context) (lost, err error) {
	if lost = s.requirements.MayStayActive(s.EffectiveInformation()); lost != nil {
		s.log.Info().Msgf("the plugin has to end, %v", lost)
		err = s.endInstance(ctx, Lapse, Conditions)
	}
	return lost, err
}

func (s *Shell) unmetRequirements() error {
	return s.requirements.MayActivate(s.EffectiveInformation())
}

// endDependants has whatever depends on the plugin end before it.
func (s *Shell) endDependants(ctx context.Context) {
	if s.isClosing() {
		return // the host ends all in its own order
	}
	ctx, cancel := context.WithTimeout(ctx, s.dependantsLimit())
	defer cancel()
	s.requirements.EndDependants(ctx)
}

// dependantsLimit leaves dependants as long as the plugin itself may take.
func (s *Shell) dependantsLimit() time.Duration {
	if s.requirements == (noRequirements{}) {
		return 0
	}
	return s.endLimit()
}
