package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"dormouse/configs"
	"dormouse/shell"
)

// clone is an instance that was made at run time. It has the configuration of another
// instance, its source, except for the keys that are its own.
type clone struct {
	// Version is cloneVersion, or 1 in a record of which no source was there yet to compare
	// with: Plugin is then a copy from when the clone was made.
	Version int `json:"version"`
	// Of is the callsign of the source.
	Of string `json:"of"`
	// Detached is set once the source has been destroyed. An instance that gets the callsign
	// later is another one.
	Detached bool `json:"detached,omitempty"`
	// Plugin is the configuration without the clone's override: that of the source, as it is
	// or as it last was, with the clone's own values of the keys Own.
	Plugin configs.Plugin `json:"plugin"`
	Own    []string       `json:"own,omitempty"`
}

// cloneVersion is the version of the records of clones.
const cloneVersion = 2

// UnmarshalJSON gives keys that are missing in a record of an earlier host their
// defaults, and keeps numbers as they are written.
func (c *clone) UnmarshalJSON(raw []byte) error {
	type plain clone
	p := plain{Plugin: configs.DefaultPlugin()}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	err := decoder.Decode(&p)
	*c = clone(p)
	return err
}

// Clone makes an instance with the configuration of another, which stays the clone's source:
// later changes of the source's configuration reach the clone, except for what is set on the
// clone itself. The clone is deactivated, or unavailable if its start mode says so, and
// exists until it is destroyed: each later host starts it as its start mode says. The
// error wraps ErrUnknown, ErrExists, ErrNotCloneable, ErrTooManyClones, or
// shell.ErrUnavailable once the host stops, or says why the new callsign can't be used.
func (s *Supervisor) Clone(_ context.Context, callsign, newCallsign string) error {
	done, err := s.waitAndBeginChange()
	if err != nil {
		return fmt.Errorf("cannot clone: %w", err)
	}
	defer done()
	sh, ok := s.Shell(callsign)
	if !ok {
		return fmt.Errorf("cannot clone: %w", s.UnknownError(callsign))
	}
	if sh.IsVirtual() {
		return fmt.Errorf("cannot clone %s: %w: it is a virtual plugin of %s; clone that", callsign, ErrNotCloneable, sh.Parent())
	}
	source, defined := s.definitions.config(callsign)
	if sh.IsBuiltIn() || !defined {
		return fmt.Errorf("cannot clone %s: %w: it is a part of the host", callsign, ErrNotCloneable)
	}
	s.virtuals.changing.Lock() // so that no virtual plugin takes the callsign meanwhile
	defer s.virtuals.changing.Unlock()
	if err := s.checkNewCallsign(newCallsign); err != nil {
		return fmt.Errorf("cannot clone %s: %w", callsign, err)
	}
	if most := s.options.MaxClones; most > 0 && len(s.definitions.clones) >= most {
		return fmt.Errorf("cannot clone %s: %w: %d, as [host] clones allows; destroy some, or allow more", callsign, ErrTooManyClones, most)
	}
	c := clone{Version: cloneVersion, Of: callsign, Plugin: source}
	c.Plugin.Callsign = newCallsign
	if err := s.makeAndKeepClone(c); err != nil {
		return fmt.Errorf("cannot clone %s: %w", callsign, err)
	}
	s.events.Roster(RosterChange{Callsign: newCallsign, Kind: RosterCreated})
	s.log.Info().Str("callsign", newCallsign).Str("of", callsign).Msg("cloned")
	return nil
}

// makeAndKeepClone makes the instance of a new clone and stores the clone. Clones of an
// earlier instance of that callsign do not follow this one.
func (s *Supervisor) makeAndKeepClone(c clone) error {
	callsign := c.Plugin.Callsign
	if err := s.detachClonesOf(callsign); err != nil {
		return err
	}
	made, err := s.newUnlistedInstance(c.Plugin)
	if err != nil {
		return err
	}
	if err := s.definitions.keptClones.Put(callsign, c); err != nil {
		made.Close()
		return err
	}
	s.definitions.clones[callsign] = c
	s.publishSources()
	s.roster.addOrReplace(made)
	return nil
}

// checkNewCallsign returns an error if no instance of that callsign can be made. The error
// may wrap ErrExists, also when only files of an earlier instance exist: a clone must never
// get those.
func (s *Supervisor) checkNewCallsign(callsign string) error {
	if err := configs.CheckCallsign(callsign); err != nil {
		return err
	}
	if err := s.roster.takenError(callsign); err != nil {
		return err
	}
	if err := s.keptVirtualError(callsign); err != nil {
		return err
	}
	if kept := s.virtuals.of(callsign); len(kept) > 0 {
		return fmt.Errorf("%w: an earlier instance of that name has left its virtual plugins %s; take another name", ErrExists, virtualCallsigns(kept))
	}
	if file, found := s.LeftOut().Find(callsign); found && file.Names(callsign) {
		return fmt.Errorf("%w: %w", ErrExists, s.WhyMissing(callsign))
	}
	if kept := s.options.KeptPaths(callsign); len(kept) > 0 {
		return fmt.Errorf("%w: an earlier instance of that name has left %s; take another name, or remove what is not wanted any more",
			ErrExists, strings.Join(kept, " and "))
	}
	return s.options.CheckCallsign(callsign)
}

// Destroy ends a clone and removes all that is kept of it, images and overrides too. Its own
// clones keep its last configuration. For an instance that the configuration names Destroy
// does nothing. If the plugin can't be ended, the clone stays. The error may wrap ErrUnknown,
// or shell.ErrUnavailable once the host stops.
func (s *Supervisor) Destroy(ctx context.Context, callsign string) error {
	return s.destroyBy(ctx, callsign, (*shell.Shell).Destroy)
}

// DestroyCold is Destroy that gives up what a hibernated clone sleeps in, and does not wake it.
func (s *Supervisor) DestroyCold(ctx context.Context, callsign string) error {
	return s.destroyBy(ctx, callsign, (*shell.Shell).DestroyCold)
}

// destroyBy is Destroy, with the operation that ends the shell.
func (s *Supervisor) destroyBy(ctx context.Context, callsign string, end func(*shell.Shell, context.Context, shell.Reason) error) error {
	if v, ok := s.VirtualOf(callsign); ok {
		if err := s.destroyVirtual(ctx, v); err != nil {
			return fmt.Errorf("cannot destroy %s: %w", callsign, err)
		}
		return nil
	}
	done, err := s.waitAndBeginChange()
	if err != nil {
		return fmt.Errorf("cannot destroy: %w", err)
	}
	defer done()
	sh, ok := s.Shell(callsign)
	if !ok {
		return fmt.Errorf("cannot destroy: %w", s.UnknownError(callsign))
	}
	if _, cloned := s.definitions.clones[callsign]; !cloned {
		return nil
	}
	if err := s.checkNotBeingReplaced(callsign); err != nil {
		return fmt.Errorf("cannot destroy: %w", err)
	}
	if err := s.endAndTakeOffRoster(ctx, sh, end); err != nil {
		return fmt.Errorf("cannot destroy %s: %w", callsign, err)
	}
	// The clone's record goes last: while it exists, a next Destroy can finish this.
	err = errors.Join(s.detachClonesOf(callsign), s.RemoveKept(callsign), s.restarts.cancelAndRemoveRecord(callsign), s.losses.forgetAll(callsign), s.definitions.keptOverrides.Delete(callsign))
	if err == nil {
		err = s.definitions.keptClones.Delete(callsign)
	}
	if err != nil {
		return fmt.Errorf("cannot remove all that was kept of %s: %w", callsign, err)
	}
	delete(s.definitions.clones, callsign)
	delete(s.definitions.overrides, callsign)
	s.publishSources()
	return nil
}

// endAndTakeOffRoster ends an instance by the operation end, cancels its planned restart and takes it off the
// roster. If the plugin could not be ended, the instance stays there and the error says
// why; an end out of order is only logged.
func (s *Supervisor) endAndTakeOffRoster(ctx context.Context, sh *shell.Shell, end func(*shell.Shell, context.Context, shell.Reason) error) error {
	err := end(sh, ctx, shell.Requested)
	if sh.State() != shell.Destroyed {
		return err
	}
	if err != nil {
		s.log.Warn().Err(err).Str("callsign", sh.Callsign()).Msg("did not end in order")
	}
	s.restarts.cancelPlannedRestart(sh.Callsign())
	s.roster.remove(sh.Callsign())
	sh.Close()
	s.takeOffVirtualsOf(sh.Callsign())
	s.events.Roster(RosterChange{Callsign: sh.Callsign(), Kind: RosterRemoved})
	return nil
}
