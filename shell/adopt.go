package shell

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// NeedsAdoption reports whether an earlier host left something of the plugin behind.
// The host must then call Adopt before any other operation.
func (s *Shell) NeedsAdoption() bool {
	_, inherited := s.inheritedReason()
	return inherited
}

// inheritedReason returns why the plugin that an earlier host left was active.
func (s *Shell) inheritedReason() (why Reason, inherited bool) {
	if s.process == nil || s.unstartable != nil {
		return "", false
	}
	return s.process.Inherited()
}

// Adopt takes over the plugin that an earlier host left running, or ends what is left of
// it. The instance is then active for the same reason as before, or deactivated with the
// returned error in its status. Adopt does nothing if there is nothing to adopt.
func (s *Shell) Adopt(ctx context.Context) error {
	why, inherited := s.inheritedReason()
	if !inherited {
		return nil
	}
	return s.runInLane(ctx, Adopt, s.activationTimeLimit(), func(ctx context.Context) error {
		err := s.takeStep(ctx, Adopt, why, s.adoptOrStopPlugin)
		if err == nil {
			s.saveActivationReason(why)
		}
		return err
	})
}

// adoptOrStopPlugin is the work of an adoption: it connects to the plugin and records
// the state of its state control. After an error the plugin does not run.
func (s *Shell) adoptOrStopPlugin(ctx context.Context) error {
	limited, cancel := s.contextUntilShutdown(ctx, time.Duration(s.Config().StartTimeout))
	defer cancel()
	info, err := s.process.Adopt(limited)
	if err != nil {
		return fmt.Errorf("cannot adopt: %w", shutdownErrorOr(limited, err))
	}
	s.setInformation(info)
	s.recordStartForGoldenTrust()
	if info.StateControl != nil {
		now, err := info.StateControl.State(limited)
		if err != nil {
			return fmt.Errorf("cannot adopt: %w", errors.Join(shutdownErrorOr(limited, err), s.backend.Stop(ctx)))
		}
		s.recordAndReportControl(now)
	}
	s.inFlight.renewContexts()
	return nil
}

// LeaveOrDeactivate is the last operation before the host ends; later operations are
// refused. An active plugin that can outlive the host is left running, once the calls to it
// have ended or the stop timeout has passed. Any other plugin is deactivated for the reason
// Shutdown; a plugin hibernated on disk sleeps on.
func (s *Shell) LeaveOrDeactivate(ctx context.Context) error {
	s.refuseAllButDeactivate()
	if s.virtual != nil {
		if parent := s.virtual.Parent(); parent.process != nil && parent.process.OutlivesHost() {
			return nil // it goes on with the parent
		}
		return s.Deactivate(ctx, Shutdown)
	}
	return s.runInLane(ctx, Deactivate, s.deactivationTimeLimit(), func(ctx context.Context) error {
		if s.State() != Activated || s.process == nil || !s.process.OutlivesHost() {
			return s.deactivateHoldingTurn(ctx, Shutdown)
		}
		drained := s.runWithStopTimeout(ctx, s.inFlight.drainCalls)
		s.inFlight.cancelAllUntilRenewed()
		return errors.Join(drained, s.process.LeaveRunning(ctx))
	})
}

// saveActivationReason lets the backend save for the next host why the plugin has become
// active. It does nothing for a built-in.
func (s *Shell) saveActivationReason(why Reason) {
	if s.process != nil {
		s.process.SaveActivationReason(why)
	}
}
