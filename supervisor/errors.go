package supervisor

import "errors"

// What the roster can refuse.
var (
	// ErrUnknown means that there is no instance of that callsign.
	ErrUnknown = errors.New("there is no such callsign")
	// ErrExists means that the callsign is taken, in whatever case.
	ErrExists = errors.New("the callsign is taken")
	// ErrNotCloneable means that the instance is part of the host.
	ErrNotCloneable = errors.New("a part of the host cannot be cloned")
	// ErrNotAnObject means that a configuration is not a JSON object.
	ErrNotAnObject = errors.New("the configuration is not a JSON object")
	// ErrNotControlled means that an instance does not control a subsystem.
	ErrNotControlled = errors.New("the instance does not control the subsystem")
)
