package supervisor

import (
	"fmt"
	"maps"
	"slices"

	"dormouse/configs"
	"dormouse/shell"
)

// Subsystem is a named condition of the platform.
type Subsystem struct {
	Name   string `json:"subsystem"`
	Active bool   `json:"active"`
}

// platform is up from the start, whoever would control it.
const platform = "Platform"

// Subsystems returns all of the host's, in their fixed order.
func (s *Supervisor) Subsystems() []Subsystem {
	c := &s.conditions
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make([]Subsystem, len(c.subsystems))
	for i, name := range c.subsystems {
		_, active := c.up[name]
		all[i] = Subsystem{name, active}
	}
	return all
}

// SetSubsystem makes a subsystem that the instance controls active or not, and
// has those instances that depend on it started or ended. What it made active is
// so until it ends. It returns ErrUnknown, ErrNotControlled for a subsystem that
// the instance does not control, or shell.ErrUnavailable when it does not run.
func (s *Supervisor) SetSubsystem(callsign, name string, active bool) error {
	sh, ok := s.Shell(callsign)
	switch {
	case !ok:
		return fmt.Errorf("cannot set subsystem %s: %w: %q", name, ErrUnknown, callsign)
	case !slices.Contains(sh.About().Controls, name) || !slices.Contains(s.conditions.subsystems, name):
		return fmt.Errorf("cannot set subsystem %s: %w", name, ErrNotControlled)
	}
	c := &s.conditions
	c.telling.Lock()
	defer c.telling.Unlock()
	switch state := sh.State(); state { // what leaves the others drops its subsystems when telling is free
	case shell.Activation, shell.Activated, shell.Hibernating, shell.Waking, shell.Deactivation:
	default:
		return fmt.Errorf("cannot set subsystem %s: %w: it is %s", name, shell.ErrUnavailable, state)
	}
	changed := c.set(callsign, []string{name}, active)
	s.save([]string{name}) // before anybody acts on it
	s.announce(changed)
	return nil
}

// setRecord tells the next host who made a subsystem active: what goes on without
// this host, or sleeps on, will not say it again.
type setRecord struct {
	Version int    `json:"version"`
	By      string `json:"by"`
}

// save writes down who has made those subsystems active, as it is now.
func (s *Supervisor) save(names []string) {
	c := &s.conditions
	c.saving.Lock()
	defer c.saving.Unlock()
	for _, name := range names {
		c.mu.Lock()
		by := c.up[name]
		c.mu.Unlock()
		var err error
		if by == "" {
			err = c.kept.Delete(name)
		} else {
			err = c.kept.Put(name, setRecord{recordVersion, by})
		}
		if err != nil {
			s.log.Error().Err(err).Str("subsystem", name).Msg("could not keep for the next host who made the subsystem active")
		}
	}
}

// restore makes those subsystems active again that were so by instances which an
// earlier host left running or hibernated.
func (s *Supervisor) restore() {
	c := &s.conditions
	c.telling.Lock()
	defer c.telling.Unlock()
	kept, err := c.kept.All()
	if err != nil {
		s.log.Error().Err(err).Msg("subsystems that plugins had made active are inactive until they do so again")
	}
	var changed []Subsystem
	var past []string
	for _, name := range slices.Sorted(maps.Keys(kept)) {
		if by := kept[name].By; c.isThere(by) && slices.Contains(c.subsystems, name) {
			changed = append(changed, c.set(by, []string{name}, true)...)
		} else {
			past = append(past, name)
		}
	}
	s.announce(changed)
	s.save(past)
}

// establish makes those subsystems active that nobody controls, and no others
// that nobody has set.
func (s *Supervisor) establish() {
	free := slices.Clone(s.conditions.subsystems)
	for _, sh := range s.Shells() {
		controls := sh.About().Controls
		free = slices.DeleteFunc(free, func(name string) bool { return name != platform && slices.Contains(controls, name) })
	}
	s.conditions.telling.Lock()
	defer s.conditions.telling.Unlock()
	held := slices.DeleteFunc(s.conditions.madeBy(""), func(name string) bool { return slices.Contains(free, name) })
	s.announce(append(s.conditions.set("", held, false), s.conditions.set("", free, true)...))
}

// announce tells that subsystems have changed and lets whom it concerns follow.
// The caller holds telling.
func (s *Supervisor) announce(changed []Subsystem) {
	if len(changed) == 0 {
		return
	}
	s.log.Info().Strs("active", namesOf(changed, true)).Strs("inactive", namesOf(changed, false)).Msg("subsystems have changed")
	s.events.Subsystems(changed)
	s.evaluate()
}

// namesOf returns the names of those that are active, or of those that are not.
func namesOf(subsystems []Subsystem, active bool) (names []string) {
	for _, s := range subsystems {
		if s.Active == active {
			names = append(names, s.Name)
		}
	}
	return names
}

// allSubsystems are Thunder's and then the site's own.
func allSubsystems(own []string) []string {
	return configs.Host{Subsystems: own}.AllSubsystems()
}
