package supervisor

import "errors"

// Errors of the methods of Supervisor.
var (
	// ErrUnknown means that no instance has that callsign.
	ErrUnknown = errors.New("there is no such callsign")
	// ErrExists means that an instance has that callsign, in upper or lower case.
	ErrExists = errors.New("the callsign is taken")
	// ErrNotCloneable means that the instance is part of the host.
	ErrNotCloneable = errors.New("a part of the host cannot be cloned")
	// ErrNotAnObject means that a configuration is not a JSON object.
	ErrNotAnObject = errors.New("the configuration is not a JSON object")
	// ErrNotControlled means that an instance does not control a subsystem.
	ErrNotControlled = errors.New("the instance does not control the subsystem")
)
