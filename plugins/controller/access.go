package controller

import (
	"cmp"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
)

// checkAccess returns nil if the caller has the role needed for the target, else an error
// with the number PrivilegedRequest that says which role is missing.
func (f *Front) checkAccess(from caller, needed access.Role, t access.Target) error {
	if err := f.access.Check(from.client, needed, t); err != nil {
		return thunder.NewError(thunder.PrivilegedRequest, err)
	}
	return nil
}

// neededRole returns the role that a caller needs for the request: writeAccess to write a
// variable, and only access.Read to subscribe to the Controller's events.
func (m *method) neededRole(r request) access.Role {
	switch {
	case m.form == variable && r.raw != nil:
		return m.writeAccess
	case m.access == access.Call && r.shell.Callsign() == configs.ControllerCallsign:
		return access.Read // the Controller's events are the host's own
	}
	return m.access
}

// target returns what the request is about: the instance that was called, else the one
// that the parameters or the index name.
func (r request) target(m *method) access.Target {
	t := access.Target{Method: m.name}
	switch {
	case r.shell != nil:
		t.Callsign = r.shell.Callsign()
	default:
		t.Callsign = cmp.Or(r.args["callsign"], r.index)
	}
	return t
}
