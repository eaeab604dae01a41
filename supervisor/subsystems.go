package supervisor

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"dormouse/internal/store"
	"dormouse/shell"
)

// Subsystem is a named condition of the platform.
type Subsystem struct {
	Name   string `json:"subsystem"`
	Active bool   `json:"active"`
}

// platform is active from the start, even if an instance controls it.
const platform = "Platform"

// subsystemChanges is the state that writing changes of subsystems to disk, and
// announcing them to listeners, needs.
type subsystemChanges struct {
	activators durableNotes[activatorRecord] // by subsystem

	announcing sync.Mutex // held from a change until every listener has been told
}

// activatorRecord tells the next host which instance activated a subsystem. A plugin
// that outlives this host, or sleeps meanwhile, does not activate the subsystem again.
type activatorRecord struct {
	Version int    `json:"version"`
	By      string `json:"by"`
}

// newActivatorNotes returns the notes, by subsystem, which instance activated it. A
// subsystem that the host activated has none.
func (s *Supervisor) newActivatorNotes() durableNotes[activatorRecord] {
	return durableNotes[activatorRecord]{
		Bucket: store.BucketOf[activatorRecord](s.options.Store, "subsystems"),
		current: func(name string) (activatorRecord, bool) {
			by := s.conditions.activatorOf(name)
			return activatorRecord{recordVersion, by}, by != ""
		},
		log: s.log, key: "subsystem", failure: "could not keep for the next host which instance made the subsystem active",
	}
}

// Subsystems returns all subsystems of the host, in their fixed order.
func (s *Supervisor) Subsystems() []Subsystem {
	c := &s.conditions
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Subsystem, len(c.subsystems))
	for i, name := range c.subsystems {
		_, active := c.active[name]
		all[i] = Subsystem{name, active}
	}
	return all
}

// SetSubsystem activates or deactivates a subsystem that the instance controls, announces
// the change, and has the instances that depend on the subsystem started or ended. An
// active subsystem stays so at most until the instance ends. The error wraps ErrUnknown,
// ErrNotControlled, or shell.ErrUnavailable if the instance does not run.
func (s *Supervisor) SetSubsystem(callsign, subsystem string, active bool) error {
	sh, ok := s.Shell(callsign)
	switch {
	case !ok:
		return fmt.Errorf("cannot set subsystem %s: %w", subsystem, s.UnknownError(callsign))
	case !slices.Contains(sh.EffectiveInformation().Controls, subsystem) || !slices.Contains(s.conditions.subsystems, subsystem):
		return fmt.Errorf("cannot set subsystem %s: %w", subsystem, ErrNotControlled)
	}
	s.changes.announcing.Lock()
	defer s.changes.announcing.Unlock()
	// An instance in any other state has dropped its subsystems, or does so next.
	if state := sh.State(); !state.IsRunning() && state != shell.Deactivation {
		return fmt.Errorf("cannot set subsystem %s: %w: it is %s", subsystem, shell.ErrUnavailable, state)
	}
	changed := s.conditions.setSubsystems(callsign, []string{subsystem}, active)
	s.changes.activators.saveOrDeleteNote(subsystem) // before an instance acts on it
	s.announceSubsystemsAndRecheck(changed)
	return nil
}

// WaitForSubsystemEvents returns when the listeners know the present subsystems.
func (s *Supervisor) WaitForSubsystemEvents() {
	s.changes.announcing.Lock()
	defer s.changes.announcing.Unlock()
}

// dropAndAnnounceSubsystems deactivates the subsystems that the instance had activated,
// announces that, and saves it in the background.
func (s *Supervisor) dropAndAnnounceSubsystems(callsign string) {
	s.changes.announcing.Lock()
	defer s.changes.announcing.Unlock()
	names := s.conditions.subsystemsActivatedBy(callsign)
	s.announceSubsystemsAndRecheck(s.conditions.setSubsystems(callsign, names, false))
	if len(names) > 0 {
		s.startBackground(func() { s.saveActivatorNotes(names) }) // while the host stops, the next host clears them
	}
}

// dropUncontrolledSubsystemsOf deactivates the subsystems that the instances had activated and
// do not control any more, and announces that.
func (s *Supervisor) dropUncontrolledSubsystemsOf(callsigns []string) {
	s.changes.announcing.Lock()
	defer s.changes.announcing.Unlock()
	for _, callsign := range callsigns {
		sh, ok := s.Shell(callsign)
		if !ok {
			continue
		}
		controls := sh.EffectiveInformation().Controls
		names := slices.DeleteFunc(s.conditions.subsystemsActivatedBy(callsign), func(name string) bool { return slices.Contains(controls, name) })
		s.announceSubsystemsAndRecheck(s.conditions.setSubsystems(callsign, names, false))
		s.saveActivatorNotes(names)
	}
}

// saveActivatorNotes brings the notes of the named subsystems on disk up to date.
func (s *Supervisor) saveActivatorNotes(names []string) {
	for _, name := range names {
		s.changes.activators.saveOrDeleteNote(name)
	}
}

// restoreAndAnnounceSubsystems activates the subsystems again that are kept for instances
// which an earlier host left running or hibernated, and removes the notes for others, except
// those that are missing.
func (s *Supervisor) restoreAndAnnounceSubsystems() {
	c := &s.conditions
	s.changes.announcing.Lock()
	defer s.changes.announcing.Unlock()
	activators, err := s.changes.activators.All()
	if err != nil {
		s.log.Error().Err(err).Msg("subsystems that plugins had made active are inactive until they do so again")
	}
	var changed []Subsystem
	var outdated []string
	for _, name := range slices.Sorted(maps.Keys(activators)) {
		if by := activators[name].By; c.isInstancePresent(by) && slices.Contains(c.subsystems, name) {
			changed = append(changed, c.setSubsystems(by, []string{name}, true)...)
		} else if !s.IsMissing(by) {
			outdated = append(outdated, name)
		}
	}
	s.announceSubsystemsAndRecheck(changed)
	s.saveActivatorNotes(outdated)
}

// updateUncontrolledSubsystems activates the subsystems that no instance controls,
// deactivates those that the host had activated and an instance controls now, and
// announces both.
func (s *Supervisor) updateUncontrolledSubsystems() {
	c := &s.conditions
	uncontrolled := slices.Clone(c.subsystems)
	for _, sh := range s.Shells() {
		controls := sh.EffectiveInformation().Controls
		uncontrolled = slices.DeleteFunc(uncontrolled, func(name string) bool { return name != platform && slices.Contains(controls, name) })
	}
	s.changes.announcing.Lock()
	defer s.changes.announcing.Unlock()
	controlled := slices.DeleteFunc(c.subsystemsActivatedBy(""), func(name string) bool { return slices.Contains(uncontrolled, name) })
	s.announceSubsystemsAndRecheck(append(c.setSubsystems("", controlled, false), c.setSubsystems("", uncontrolled, true)...))
}

// announceSubsystemsAndRecheck logs and tells the listeners which subsystems have
// changed, and has instances recheck their requirements. It does nothing if changed is
// empty. The caller holds announcing.
func (s *Supervisor) announceSubsystemsAndRecheck(changed []Subsystem) {
	if len(changed) == 0 {
		return
	}
	s.log.Info().Strs("active", namesOfSubsystems(changed, true)).Strs("inactive", namesOfSubsystems(changed, false)).Msg("subsystems have changed")
	s.events.Subsystems(changed)
	s.recheckAllInBackground()
}

// namesOfSubsystems returns the names of the subsystems that are active, or of those that
// are not.
func namesOfSubsystems(subsystems []Subsystem, active bool) (names []string) {
	for _, s := range subsystems {
		if s.Active == active {
			names = append(names, s.Name)
		}
	}
	return names
}
