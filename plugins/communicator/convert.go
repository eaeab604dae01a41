package communicator

import (
	"path/filepath"

	"dormouse/configs"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
	"dormouse/statecontrol/statecontrolpb"
	"dormouse/supervisor"
)

var wireStates = map[shell.State]shellpb.State{
	shell.Unavailable:  shellpb.State_STATE_UNAVAILABLE,
	shell.Deactivated:  shellpb.State_STATE_DEACTIVATED,
	shell.Activated:    shellpb.State_STATE_ACTIVATED,
	shell.Deactivation: shellpb.State_STATE_DEACTIVATION,
	shell.Activation:   shellpb.State_STATE_ACTIVATION,
	shell.Hibernated:   shellpb.State_STATE_HIBERNATED,
	shell.Hibernating:  shellpb.State_STATE_HIBERNATING,
	shell.Waking:       shellpb.State_STATE_WAKING,

	shell.Precondition: shellpb.State_STATE_PRECONDITION,
	shell.Destroyed:    shellpb.State_STATE_DESTROYED,
}

var wireControls = map[statecontrol.State]shellpb.Control{
	statecontrol.Suspended: shellpb.Control_CONTROL_SUSPENDED,
	statecontrol.Resumed:   shellpb.Control_CONTROL_RESUMED,
}

var wireStartModes = map[configs.StartMode]shellpb.StartMode{
	configs.StartUnavailable: shellpb.StartMode_START_MODE_UNAVAILABLE,
	configs.StartDeactivated: shellpb.StartMode_START_MODE_DEACTIVATED,
	configs.StartActivated:   shellpb.StartMode_START_MODE_ACTIVATED,
}

var wireControlStates = map[statecontrol.State]statecontrolpb.State{
	statecontrol.Suspended: statecontrolpb.State_STATE_SUSPENDED,
	statecontrol.Resumed:   statecontrolpb.State_STATE_RESUMED,
	statecontrol.Exited:    statecontrolpb.State_STATE_EXITED,
}

// statusMessage returns the status of an instance.
func (c *Communicator) statusMessage(sh *shell.Shell) *shellpb.StatusResponse {
	st := sh.BriefStatus()
	info := st.Information
	s := &shellpb.StatusResponse{
		Callsign:      st.Config.Callsign,
		State:         wireStates[st.State],
		Control:       wireControls[st.Control],
		Reason:        st.Reason.Proto(),
		Class:         info.Class,
		Locator:       st.Config.Executable,
		Version:       versionMessage(info.Version),
		StartMode:     wireStartModes[st.Config.StartMode],
		Resumed:       st.Config.Resumed(),
		Configuration: st.Config.ConfigurationJSON(),
		Preconditions: st.Preconditions(),
		Terminations:  st.Terminations(),
		Controls:      st.Controls(),
		Requires:      st.Config.Requires,
	}
	if s.Class == "" && s.Locator != "" {
		s.Class = filepath.Base(s.GetLocator())
	}
	if st.Err != nil {
		s.Error = st.Err.Error()
	}
	if c.Paths != nil && !sh.IsBuiltIn() {
		s.Paths = c.Paths(st.Config)
	}
	return s
}

// versionMessage returns a version.
func versionMessage(v shell.Version) *shellpb.Version {
	return &shellpb.Version{Major: v.Major, Minor: v.Minor, Patch: v.Patch}
}

// hostVersion returns the version of the host.
func (c *Communicator) hostVersion() *shellpb.Version {
	return versionMessage(thunder.ParseVersion(c.Version))
}

// changeMessage returns the state of an instance after a transition.
func changeMessage(t shell.Transition) *shellpb.StateChange {
	return &shellpb.StateChange{
		Callsign: t.Callsign,
		State:    wireStates[t.To],
		Control:  wireControls[t.Control],
		Reason:   t.Reason.Proto(),
	}
}

// subsystemsMessage returns the subsystems.
func subsystemsMessage(all []supervisor.Subsystem) *shellpb.SubsystemsResponse {
	r := &shellpb.SubsystemsResponse{}
	for _, s := range all {
		r.Subsystems = append(r.Subsystems, &shellpb.Subsystem{Name: s.Name, Active: s.Active})
	}
	return r
}

// reasonFromClient returns the reason for an operation that a client gives, by default
// Requested.
func reasonFromClient(r shellpb.Reason) shell.Reason {
	if words := r.Words(); words != "" && r != shellpb.Reason_REASON_SHUTDOWN { // only the host shuts down
		return shell.Reason(words)
	}
	return shell.Requested
}
