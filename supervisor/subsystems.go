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

// subsystemChanges brings changes of subsystems to disk and to the listeners.
type subsystemChanges struct {
	setters kept[setRecord] // by subsystem

	announcing sync.Mutex // held from a change until every listener has been told
}

// setRecord notes which instance activated a subsystem. A plugin that outlives this
// host, or sleeps meanwhile, does not activate it again.
type setRecord struct {
	Version int    `json:"version"`
	By      string `json:"by"`
}

func (s *Supervisor) newSetterNotes() kept[setRecord] {
	return kept[setRecord]{
		bucket: store.BucketOf[setRecord](s.options.Store, "subsystems"),
		current: func(name string) (setRecord, bool) {
			by := s.conditions.activator(name)
			return setRecord{recordVersion, by}, by != ""
		},
		failed: func(name string, err error) {
			s.log.Error().Err(err).Str("subsystem", name).Msg("could not keep for the next host who made the subsystem active")
		},
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

// SetSubsystem activates or deactivates a subsystem that the instance controls, and
// has the instances that depend on the subsystem started or ended. It stays active
// until the instance ends. The error wraps ErrUnknown, ErrNotControlled, or
// shell.ErrUnavailable if the instance does not run.
func (s *Supervisor) SetSubsystem(callsign, name string, active bool) error {
	sh, ok := s.Shell(callsign)
	switch {
	case !ok:
		return fmt.Errorf("cannot set subsystem %s: %w: %q", name, ErrUnknown, callsign)
	case !slices.Contains(sh.EffectiveInformation().Controls, name) || !slices.Contains(s.conditions.subsystems, name):
		return fmt.Errorf("cannot set subsystem %s: %w", name, ErrNotControlled)
	}
	s.changes.announcing.Lock()
	defer s.changes.announcing.Unlock()
	// An instance in any other state has dropped its subsystems, or does so next.
	if state := sh.State(); !state.IsRunning() && state != shell.Deactivation {
		return fmt.Errorf("cannot set subsystem %s: %w: it is %s", name, shell.ErrUnavailable, state)
	}
	changed := s.conditions.setActive(callsign, []string{name}, active)
	s.changes.setters.save(name) // before an instance acts on it
	s.announce(changed)
	return nil
}

// dropSubsystems deactivates the subsystems that the instance had activated.
func (s *Supervisor) dropSubsystems(callsign string) {
	s.changes.announcing.Lock()
	defer s.changes.announcing.Unlock()
	names := s.conditions.activatedBy(callsign)
	s.announce(s.conditions.setActive(callsign, names, false))
	if len(names) > 0 {
		s.startBackground(func() { s.saveSetters(names) }) // while the host stops, the next host clears them
	}
}

func (s *Supervisor) saveSetters(names []string) {
	for _, name := range names {
		s.changes.setters.save(name)
	}
}

// restoreSubsystems activates the subsystems again that are kept for instances which
// an earlier host left running or hibernated.
func (s *Supervisor) restoreSubsystems() {
	c := &s.conditions
	s.changes.announcing.Lock()
	defer s.changes.announcing.Unlock()
	setters, err := s.changes.setters.all()
	if err != nil {
		s.log.Error().Err(err).Msg("subsystems that plugins had made active are inactive until they do so again")
	}
	var changed []Subsystem
	var outdated []string
	for _, name := range slices.Sorted(maps.Keys(setters)) {
		if by := setters[name].By; c.isPresent(by) && slices.Contains(c.subsystems, name) {
			changed = append(changed, c.setActive(by, []string{name}, true)...)
		} else {
			outdated = append(outdated, name)
		}
	}
	s.announce(changed)
	s.saveSetters(outdated)
}

// activateUncontrolled activates the subsystems that no instance controls, and
// deactivates the others that the host had activated.
func (s *Supervisor) activateUncontrolled() {
	c := &s.conditions
	uncontrolled := slices.Clone(c.subsystems)
	for _, sh := range s.Shells() {
		controls := sh.EffectiveInformation().Controls
		uncontrolled = slices.DeleteFunc(uncontrolled, func(name string) bool { return name != platform && slices.Contains(controls, name) })
	}
	s.changes.announcing.Lock()
	defer s.changes.announcing.Unlock()
	controlled := slices.DeleteFunc(c.activatedBy(""), func(name string) bool { return slices.Contains(uncontrolled, name) })
	s.announce(append(c.setActive("", controlled, false), c.setActive("", uncontrolled, true)...))
}

// announce tells the listeners which subsystems have changed, and has the instances
// follow. The caller holds announcing.
func (s *Supervisor) announce(changed []Subsystem) {
	if len(changed) == 0 {
		return
	}
	s.log.Info().Strs("active", namesByActive(changed, true)).Strs("inactive", namesByActive(changed, false)).Msg("subsystems have changed")
	s.events.Subsystems(changed)
	s.followConditions()
}

// namesByActive returns the names of the active subsystems, or of the inactive ones.
func namesByActive(subsystems []Subsystem, active bool) (names []string) {
	for _, s := range subsystems {
		if s.Active == active {
			names = append(names, s.Name)
		}
	}
	return names
}
