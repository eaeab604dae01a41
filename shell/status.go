package shell

import (
	"cmp"
	"slices"
	"time"

	"dormouse/configs"
	"dormouse/statecontrol"
)

// Transition is one change of an instance's state. From equals To when only the state
// control changed.
type Transition struct {
	Callsign string
	Event    Event
	From, To State
	// Control is the state of the plugin's state control after the change, empty when the
	// plugin has none.
	Control statecontrol.State
	Reason  Reason
	Err     error
	At      time.Time
}

// historyLength is how many transitions an instance remembers.
const historyLength = 32

// virtualHistoryLength is historyLength of a virtual plugin: there may be many, and they share the
// history of their parent.
const virtualHistoryLength = 8

// appendHistory adds t to the history and drops the oldest transition if the history is
// full. The caller holds mu.
func (s *Shell) appendHistory(t Transition) {
	longest := historyLength
	if s.virtual != nil {
		longest = virtualHistoryLength
	}
	if len(s.history) == longest {
		s.history = append(s.history[:0], s.history[1:]...)
	}
	s.history = append(s.history, t)
}

// Status describes an instance at one moment.
type Status struct {
	Config      configs.Plugin
	Information Information
	State       State
	// Control is empty when the plugin has no state control or is deactivated.
	Control statecontrol.State
	Reason  Reason
	// Since is when State was entered.
	Since time.Time
	// Err is the error that led to State, nil for none. In Precondition it names the
	// requirements that are not met now.
	Err     error
	Figures ProcessFigures
	// FailedWakes is how many wakes of the present sleep have failed.
	FailedWakes int
	// Sleep is nil when the plugin is not hibernated.
	Sleep *Sleep
	// StartedFrom is the golden image that the plugin was started from, nil after a cold
	// start.
	StartedFrom *GoldenImage
	// Progress is zero unless the state is Hibernating or Waking.
	Progress Progress
	// History holds the last transitions, oldest first.
	History []Transition
}

// Status returns the full status of the instance. It waits for no operation and wakes
// nothing. All parts belong to the same state: if the state changes meanwhile, Status
// collects them again.
func (s *Shell) Status() Status {
	for {
		st, changes := s.recordedStatus()
		st.Information = s.withParentServices(st.Information)
		st.Figures = s.backend.ProcessFigures()
		if st.State == Precondition {
			st.Err = s.unmetRequirements()
		}
		if s.process != nil {
			switch {
			case st.State == Hibernated:
				st.Sleep = s.process.Sleep()
			case st.State.IsInSleepCycle():
				st.Progress = s.process.HibernationProgress()
			}
		}
		if _, now := s.recordedStatus(); now == changes {
			return st
		}
	}
}

// BriefStatus returns the status without Figures, Sleep and Progress, which the backend must
// look up; in Precondition its Err may be nil. The last element of its history is the
// transition that led to it.
func (s *Shell) BriefStatus() Status {
	st, _ := s.recordedStatus()
	st.Information = s.withParentServices(st.Information)
	return st
}

// recordedStatus returns the part of the status that the shell keeps itself, and the
// number of changes so far.
func (s *Shell) recordedStatus() (st Status, changes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Status{
		Config:      s.Config(),
		Information: s.info,
		State:       s.state,
		Control:     s.control,
		Reason:      s.reason,
		Since:       s.since,
		Err:         cmp.Or(s.unstartable, s.refusal(), s.failure),
		StartedFrom: s.warmStarts.startedFrom,
		History:     slices.Clone(s.history),
		FailedWakes: s.failedWakes.count,
	}, s.changes
}

// Serves reports whether the plugin's description of itself lists the gRPC service.
func (s *Shell) Serves(service string) bool {
	if s.virtual != nil {
		return s.virtual.Parent().Serves(service)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.info.Services, service)
}

// State returns the lifecycle state.
func (s *Shell) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// StateAndControl returns the lifecycle state and the state of the plugin's state
// control, which is empty when the plugin has none. It is cheap.
func (s *Shell) StateAndControl() (state State, control statecontrol.State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state, s.control
}

// information returns the plugin's description of itself, without the configuration's lists.
func (s *Shell) information() Information {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.info
}

// setInformation replaces the plugin's description of itself.
func (s *Shell) setInformation(i Information) {
	s.mu.Lock()
	same := s.info.describesLike(i)
	s.info = i
	s.mu.Unlock()
	if !same || s.declared != nil {
		s.contract.Store(newContractOrNil(s.profileNow()))
	}
	if !same {
		s.onDescribed()
	}
}

// LogLines returns the last lines that the plugin has written since that time, oldest first;
// none for a built-in. A time after the end of a plugin leaves its lines out.
func (s *Shell) LogLines(since time.Time) []string {
	if s.process == nil {
		return nil
	}
	return s.process.LogLines(since)
}
