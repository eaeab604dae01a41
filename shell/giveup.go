package shell

import "context"

// ActivateCold is Activate that does not wake a hibernated plugin: it gives up what the plugin
// sleeps in, and starts the plugin anew. That is no loss: it was asked for.
func (s *Shell) ActivateCold(ctx context.Context, why Reason) error {
	return s.runInLane(ctx, GiveUp, s.activationTimeLimit(), func(ctx context.Context) error {
		if err := s.giveUpIfHibernated(ctx, why); err != nil {
			return err
		}
		return s.activateHoldingTurn(ctx, why)
	})
}

// DeactivateCold is Deactivate that does not wake a hibernated plugin: it gives up what the
// plugin sleeps in, and the plugin is not told that its work is over.
func (s *Shell) DeactivateCold(ctx context.Context, why Reason) error {
	return s.runInLane(ctx, GiveUp, s.deactivationTimeLimit(), func(ctx context.Context) error {
		if err := s.giveUpIfHibernated(ctx, why); err != nil {
			return err
		}
		return s.deactivateHoldingTurn(ctx, why)
	})
}

// DestroyCold is Destroy that gives up what a hibernated plugin sleeps in, as DeactivateCold
// does.
func (s *Shell) DestroyCold(ctx context.Context, why Reason) error {
	return s.runInLane(ctx, GiveUp, s.deactivationTimeLimit(), func(ctx context.Context) error {
		if err := s.giveUpIfHibernated(ctx, why); err != nil {
			return err
		}
		return s.destroyHoldingTurn(ctx, why)
	})
}

// giveUpIfHibernated takes the step that makes a hibernated instance deactivated without a
// wake. It does nothing in other states. The caller has the turn.
func (s *Shell) giveUpIfHibernated(ctx context.Context, why Reason) error {
	if s.State() != Hibernated {
		return nil
	}
	return s.takeStep(ctx, GiveUp, why, func(ctx context.Context) error {
		asleep := s.process.Sleep()
		s.log.Warn().Uint64("generation", asleep.Generation).Msg("gave up the state of the hibernated plugin, as was asked for")
		return s.process.EndWithoutWake(ctx)
	})
}
