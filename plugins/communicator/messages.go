package communicator

import (
	"cmp"
	"path/filepath"

	"google.golang.org/protobuf/types/known/timestamppb"

	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/supervisor"
)

// statusMessage returns the status of an instance as a message for clients. A built-in
// has no paths. An instance whose plugin has named no class gets its program's name. Without
// details, configuration, paths and failure are empty.
func (c *Communicator) statusMessage(sh *shell.Shell, details bool) *shellpb.StatusResponse {
	st := sh.BriefStatus()
	info := st.Information
	s := &shellpb.StatusResponse{
		Callsign:      st.Config.Callsign,
		State:         shellpb.StateOf(string(st.State)),
		Control:       shellpb.ControlOf(string(st.Control)),
		Reason:        st.Reason.Proto(),
		Class:         info.Class,
		Locator:       st.Config.Executable,
		Version:       versionMessage(info.Version),
		StartMode:     shellpb.StartModeOf(string(st.Config.StartMode)),
		Resumed:       st.Config.StartsResumed(),
		Configuration: st.Config.ConfigurationJSON(),
		Preconditions: st.Preconditions(),
		Terminations:  st.Terminations(),
		Controls:      st.ControlledSubsystems(),
		Requires:      st.Config.Requires,
	}
	if s.Class == "" && s.Locator != "" {
		s.Class = filepath.Base(s.GetLocator())
	}
	if st.Err != nil {
		s.Error = st.Err.Error()
	}
	if source, ok := c.Supervisor.CloneSource(sh.Callsign()); ok {
		s.Source = &shellpb.CloneSource{Callsign: source.Of, Gone: source.Gone, Own: source.Own}
	}
	s.Parent = sh.Parent()
	s.Package, _ = c.Supervisor.SourceOf(cmp.Or(s.GetParent(), sh.Callsign()))
	if c.Paths != nil && !sh.IsBuiltIn() && !sh.IsVirtual() {
		s.Paths = c.Paths(st.Config)
	}
	s.Lost = c.lossMessages(sh.Callsign(), details)
	if !details {
		s.Locator, s.Configuration, s.Error, s.Paths = "", []byte("{}"), "", nil
	}
	return s
}

// lossMessages returns what was lost of an instance's state and is not acknowledged yet.
func (c *Communicator) lossMessages(callsign string, details bool) (messages []*shellpb.Loss) {
	for _, l := range c.Supervisor.LossesOf(callsign) {
		messages = append(messages, lossMessage(l, details))
	}
	return messages
}

// lossMessage returns a loss as a message for clients. Without details, cause and path are
// empty.
func lossMessage(l supervisor.Loss, details bool) *shellpb.Loss {
	m := &shellpb.Loss{
		Callsign: l.Callsign, At: timestamppb.New(l.At), Cause: l.Cause, Class: string(l.Class),
		Generation: l.Generation, Path: l.Path, Restorable: l.Restorable,
	}
	if !l.Until.IsZero() {
		m.Until = timestamppb.New(l.Until)
	}
	if !details {
		m.Cause, m.Path = "", ""
	}
	return m
}

// versionMessage returns a version as a message for clients.
func versionMessage(v shell.Version) *shellpb.Version {
	return &shellpb.Version{Major: v.Major, Minor: v.Minor, Patch: v.Patch}
}

// stateChangeMessage returns the state that a transition led to as a message for clients.
func stateChangeMessage(t shell.Transition) *shellpb.StateChange {
	return &shellpb.StateChange{
		Callsign: t.Callsign,
		State:    shellpb.StateOf(string(t.To)),
		Control:  shellpb.ControlOf(string(t.Control)),
		Reason:   t.Reason.Proto(),
	}
}

// subsystemsMessage returns subsystems as a message for clients.
func subsystemsMessage(all []supervisor.Subsystem) *shellpb.SubsystemsResponse {
	r := &shellpb.SubsystemsResponse{}
	for _, s := range all {
		r.Subsystems = append(r.Subsystems, &shellpb.Subsystem{Name: s.Name, Active: s.Active})
	}
	return r
}

// reasonOrRequested returns the reason that a client gives for an operation. Without
// one, and for Shutdown, which only the host may give, it returns Requested.
func reasonOrRequested(r shellpb.Reason) shell.Reason {
	if words := r.Words(); words != "" && r != shellpb.Reason_REASON_SHUTDOWN { // a client may not give the host's own reason
		return shell.Reason(words)
	}
	return shell.Requested
}
