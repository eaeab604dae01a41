package communicator

import (
	"path/filepath"
	"slices"

	"dormouse/configs"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/statecontrol"
	"dormouse/statecontrol/statecontrolpb"
	"dormouse/supervisor"
)

var states = map[shell.State]shellpb.State{
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

var controls = map[statecontrol.State]shellpb.Control{
	statecontrol.Suspended: shellpb.Control_CONTROL_SUSPENDED,
	statecontrol.Resumed:   shellpb.Control_CONTROL_RESUMED,
}

var startModes = map[configs.StartMode]shellpb.StartMode{
	configs.StartUnavailable: shellpb.StartMode_START_MODE_UNAVAILABLE,
	configs.StartDeactivated: shellpb.StartMode_START_MODE_DEACTIVATED,
	configs.StartActivated:   shellpb.StartMode_START_MODE_ACTIVATED,
}

var controlStates = map[statecontrol.State]statecontrolpb.State{
	statecontrol.Suspended: statecontrolpb.State_STATE_SUSPENDED,
	statecontrol.Resumed:   statecontrolpb.State_STATE_RESUMED,
	statecontrol.Exited:    statecontrolpb.State_STATE_EXITED,
}

// statusOf is an instance as native clients see it.
func (c *Communicator) statusOf(sh *shell.Shell) *shellpb.StatusResponse {
	st := sh.BriefStatus()
	info := st.Information
	s := &shellpb.StatusResponse{
		Callsign:      st.Config.Callsign,
		State:         states[st.State],
		Control:       controls[st.Control],
		Reason:        st.Reason.Proto(),
		Class:         info.Class,
		Locator:       st.Config.Executable,
		Version:       versionOf(info.Version),
		StartMode:     startModes[st.Config.StartMode],
		Resumed:       st.Config.Resumed(),
		Configuration: st.Config.ConfigurationJSON(),
		Preconditions: union(st.Config.Preconditions, info.Preconditions),
		Terminations:  union(st.Config.Terminations, info.Terminations),
		Controls:      union(st.Config.Controls, info.Controls),
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

func versionOf(v shell.Version) *shellpb.Version {
	return &shellpb.Version{Major: v.Major, Minor: v.Minor, Patch: v.Patch}
}

func (c *Communicator) version() *shellpb.Version {
	return versionOf(thunder.ParseVersion(c.Version))
}

// union is both lists, each element once.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, element := range b {
		if !slices.Contains(all, element) {
			all = append(all, element)
		}
	}
	return all
}

func changeOf(t shell.Transition) *shellpb.StateChange {
	return &shellpb.StateChange{
		Callsign: t.Callsign,
		State:    states[t.To],
		Control:  controls[t.Control],
		Reason:   t.Reason.Proto(),
	}
}

func subsystemsOf(all []supervisor.Subsystem) *shellpb.SubsystemsResponse {
	r := &shellpb.SubsystemsResponse{}
	for _, s := range all {
		r.Subsystems = append(r.Subsystems, &shellpb.Subsystem{Name: s.Name, Active: s.Active})
	}
	return r
}

// reasonOf is the reason that a caller gives for an operation.
func reasonOf(r shellpb.Reason) shell.Reason {
	if words := r.Words(); words != "" && r != shellpb.Reason_REASON_SHUTDOWN { // which is the host's alone to give
		return shell.Reason(words)
	}
	return shell.Requested
}
