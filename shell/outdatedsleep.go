package shell

import (
	"context"
	"fmt"

	"dormouse/hibernate"
)

// OutdatedSleep returns why the hibernated plugin must not go on as it is: it sleeps since an
// earlier host, with another configuration than the instance has now. It returns nil for any
// other instance.
func (s *Shell) OutdatedSleep() error {
	if s.process == nil || s.State() != Hibernated {
		return nil
	}
	return s.process.OutdatedSleep()
}

// ReplaceOutdated ends a plugin whose sleep is outdated, and starts it with the configuration
// that the instance has now. It does nothing to any other instance. If the wake that this
// takes can't be now, the error is an *AsleepError, the plugin sleeps on, and the host tries
// again by itself.
func (s *Shell) ReplaceOutdated(ctx context.Context, why Reason) error {
	return s.runInLane(ctx, Retire, s.activationTimeLimit(), func(ctx context.Context) error {
		if s.OutdatedSleep() == nil {
			return nil
		}
		return s.activateHoldingTurn(ctx, why)
	})
}

// retireHoldingTurn takes the step that ends a plugin whose sleep is outdated. After an
// *AsleepError the plugin sleeps on; after any other error the instance is deactivated. The
// plugin is not told that it ends for a startup, which is the reason of the one that follows. The
// caller has the turn.
func (s *Shell) retireHoldingTurn(ctx context.Context, why Reason, outdated error) error {
	if why == Startup {
		why = Requested
	}
	s.log.Info().AnErr("because", outdated).Msg("wakes the plugin to end it")
	return s.takeStep(ctx, Retire, why, func(ctx context.Context) error { return s.wakeAndEndPlugin(ctx, why) })
}

// wakeAndEndPlugin is the work of the step Retire: the plugin wakes, gets no call, and is told
// to end. After an *AsleepError it sleeps on; after any other error it neither runs nor sleeps.
func (s *Shell) wakeAndEndPlugin(ctx context.Context, why Reason) error {
	if err := s.wakeOrGiveUpImage(ctx); err != nil {
		return err
	}
	s.endDependantsUnlessClosing(ctx)
	if err := s.drainAndEndPlugin(ctx, why); err != nil { // nothing is left to wake
		return fmt.Errorf("%w: cannot end the plugin in order: %w", hibernate.ErrUsedUp, err)
	}
	return nil
}
