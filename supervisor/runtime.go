package supervisor

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"dormouse/configs"
	"dormouse/shell"
)

// Clone makes an instance with the configuration of another, what was configured
// at run time included. It is deactivated, or unavailable if its start mode says
// so. It exists after a restart of the host too, and then starts as its start
// mode says, until it is destroyed. The error wraps ErrUnknown, ErrExists or
// ErrNotCloneable, or says what is wrong with the name.
func (s *Supervisor) Clone(_ context.Context, callsign, newCallsign string) error {
	done, err := s.change()
	if err != nil {
		return fmt.Errorf("cannot clone: %w", err)
	}
	defer done()
	sh, ok := s.Shell(callsign)
	if !ok {
		return fmt.Errorf("cannot clone: %w: %q", ErrUnknown, callsign)
	}
	if sh.InProcess() {
		return fmt.Errorf("cannot clone %s: %w", callsign, ErrNotCloneable)
	}
	if err := s.checkNew(newCallsign); err != nil {
		return fmt.Errorf("cannot clone %s: %w", callsign, err)
	}
	c := clone{recordVersion, callsign, sh.Config()}
	c.Plugin.Callsign = newCallsign
	made, err := s.instance(c.Plugin)
	if err != nil {
		return fmt.Errorf("cannot clone %s: %w", callsign, err)
	}
	if err := s.ledger.keptClones.Put(newCallsign, c); err != nil {
		made.Close()
		return fmt.Errorf("cannot clone %s: %w", callsign, err)
	}
	s.ledger.clones[newCallsign] = c
	s.roster.add(made)
	s.log.Info().Str("callsign", newCallsign).Str("of", callsign).Msg("cloned")
	return nil
}

// checkNew says what keeps an instance of that callsign from being made.
func (s *Supervisor) checkNew(callsign string) error {
	if err := configs.CheckCallsign(callsign); err != nil {
		return err
	}
	for _, sh := range s.Shells() {
		if strings.EqualFold(sh.Callsign(), callsign) {
			return fmt.Errorf("%w: %q", ErrExists, sh.Callsign())
		}
	}
	return s.fits(callsign)
}

func (s *Supervisor) fits(callsign string) error {
	if s.options.Fits == nil {
		return nil
	}
	return s.options.Fits(callsign)
}

// Destroy ends a clone for good, with all that is kept of it. For an instance
// that the configuration names it does nothing. The error may wrap ErrUnknown.
func (s *Supervisor) Destroy(ctx context.Context, callsign string) error {
	done, err := s.change()
	if err != nil {
		return fmt.Errorf("cannot destroy: %w", err)
	}
	defer done()
	sh, ok := s.Shell(callsign)
	if !ok {
		return fmt.Errorf("cannot destroy: %w: %q", ErrUnknown, callsign)
	}
	if _, cloned := s.ledger.clones[callsign]; !cloned {
		return nil
	}
	if err := s.remove(ctx, sh); err != nil {
		return fmt.Errorf("cannot destroy %s: %w", callsign, err)
	}
	// The record goes last: as long as it is there, what is left has an owner.
	err = errors.Join(s.forget(callsign), s.restarts.forget(callsign), s.ledger.keptTables.Delete(callsign))
	if err == nil {
		err = s.ledger.keptClones.Delete(callsign)
	}
	if err != nil {
		return fmt.Errorf("cannot remove all that was kept of %s: %w", callsign, err)
	}
	delete(s.ledger.clones, callsign)
	delete(s.ledger.tables, callsign)
	return nil
}

func (s *Supervisor) forget(callsign string) error {
	if s.options.Forget == nil {
		return nil
	}
	return s.options.Forget(callsign)
}

// remove ends an instance and takes it off the roster. One that did not end in
// order is gone nevertheless; one that could not be ended is still there.
func (s *Supervisor) remove(ctx context.Context, sh *shell.Shell) error {
	err := sh.Destroy(ctx, shell.Requested)
	if sh.State() != shell.Destroyed {
		return err
	}
	if err != nil {
		s.log.Warn().Err(err).Str("callsign", sh.Callsign()).Msg("did not end in order")
	}
	s.restarts.drop(sh.Callsign())
	s.roster.remove(sh.Callsign())
	sh.Close()
	return nil
}
