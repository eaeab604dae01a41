package supervisor

import "errors"

// Subsystem is a named condition of the platform.
type Subsystem struct {
	Name   string `json:"subsystem"`
	Active bool   `json:"active"`
}

// Subsystems returns all of the host's, in their fixed order.
func (s *Supervisor) Subsystems() []Subsystem { return nil }

// SetSubsystem makes a subsystem that the instance controls active or not, and
// has those instances that depend on it started or ended. It returns
// ErrNotControlled for one that the instance does not control.
func (s *Supervisor) SetSubsystem(callsign, name string, active bool) error {
	return errors.ErrUnsupported
}
