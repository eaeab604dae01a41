package supervisor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"dormouse/configs"
	"dormouse/shell"
)

// Clone makes an instance with the configuration of another, including values that
// Configure has set. The clone is deactivated, or unavailable if its start mode says so,
// and exists until it is destroyed: each later host starts it as its start mode says. The
// error wraps ErrUnknown, ErrExists, ErrNotCloneable, or shell.ErrUnavailable once the host
// stops, or says why the new callsign can't be used.
func (s *Supervisor) Clone(_ context.Context, callsign, newCallsign string) error {
	done, err := s.waitAndBeginChange()
	if err != nil {
		return fmt.Errorf("cannot clone: %w", err)
	}
	defer done()
	sh, ok := s.Shell(callsign)
	if !ok {
		return fmt.Errorf("cannot clone: %w: %q", ErrUnknown, callsign)
	}
	if sh.IsBuiltIn() {
		return fmt.Errorf("cannot clone %s: %w", callsign, ErrNotCloneable)
	}
	if err := s.checkNewCallsign(newCallsign); err != nil {
		return fmt.Errorf("cannot clone %s: %w", callsign, err)
	}
	c := clone{recordVersion, callsign, sh.Config()}
	c.Plugin.Callsign = newCallsign
	made, err := s.newUnlistedInstance(c.Plugin)
	if err != nil {
		return fmt.Errorf("cannot clone %s: %w", callsign, err)
	}
	if err := s.definitions.keptClones.Put(newCallsign, c); err != nil {
		made.Close()
		return fmt.Errorf("cannot clone %s: %w", callsign, err)
	}
	s.definitions.clones[newCallsign] = c
	s.roster.addOrReplace(made)
	s.log.Info().Str("callsign", newCallsign).Str("of", callsign).Msg("cloned")
	return nil
}

// checkNewCallsign returns an error if no instance of that callsign can be made. The error
// may wrap ErrExists.
func (s *Supervisor) checkNewCallsign(callsign string) error {
	if err := configs.CheckCallsign(callsign); err != nil {
		return err
	}
	for _, sh := range s.Shells() {
		if strings.EqualFold(sh.Callsign(), callsign) {
			return fmt.Errorf("%w: %q", ErrExists, sh.Callsign())
		}
	}
	return s.options.CheckCallsign(callsign)
}

// Destroy ends a clone and removes all that is kept of it, images and overrides too. For an
// instance that the configuration names Destroy does nothing. If the plugin can't be ended,
// the clone stays. The error may wrap ErrUnknown, or shell.ErrUnavailable once the host
// stops.
func (s *Supervisor) Destroy(ctx context.Context, callsign string) error {
	done, err := s.waitAndBeginChange()
	if err != nil {
		return fmt.Errorf("cannot destroy: %w", err)
	}
	defer done()
	sh, ok := s.Shell(callsign)
	if !ok {
		return fmt.Errorf("cannot destroy: %w: %q", ErrUnknown, callsign)
	}
	if _, cloned := s.definitions.clones[callsign]; !cloned {
		return nil
	}
	if err := s.endAndTakeOffRoster(ctx, sh); err != nil {
		return fmt.Errorf("cannot destroy %s: %w", callsign, err)
	}
	// The clone's record goes last: while it exists, a next Destroy can finish this.
	err = errors.Join(s.options.RemoveKept(callsign), s.restarts.cancelAndRemoveRecord(callsign), s.definitions.keptOverrides.Delete(callsign))
	if err == nil {
		err = s.definitions.keptClones.Delete(callsign)
	}
	if err != nil {
		return fmt.Errorf("cannot remove all that was kept of %s: %w", callsign, err)
	}
	delete(s.definitions.clones, callsign)
	delete(s.definitions.overrides, callsign)
	return nil
}

// endAndTakeOffRoster ends an instance, cancels its planned restart and takes it off the
// roster. If the plugin could not be ended, the instance stays there and the error says
// why; an end out of order is only logged.
func (s *Supervisor) endAndTakeOffRoster(ctx context.Context, sh *shell.Shell) error {
	err := sh.Destroy(ctx, shell.Requested)
	if sh.State() != shell.Destroyed {
		return err
	}
	if err != nil {
		s.log.Warn().Err(err).Str("callsign", sh.Callsign()).Msg("did not end in order")
	}
	s.restarts.cancelPlannedRestart(sh.Callsign())
	s.roster.remove(sh.Callsign())
	sh.Close()
	return nil
}
