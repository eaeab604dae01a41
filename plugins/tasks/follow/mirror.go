package follow

import (
	"slices"

	"google.golang.org/protobuf/proto"

	"dormouse/plugins/tasks/taskspb"
)

// nextChange returns the next change that brings the steps of the task own in line with those of
// the other, nil if none is to be made now: no step is mirrored while another is open, and what is
// left of a failed task then is not mirrored at all.
func nextChange(own, other *taskspb.Task, l link) *taskspb.UpdateRequest {
	for _, s := range other.GetSteps() {
		if l.isExcepted(s.GetId()) {
			continue
		}
		id := l.prefix + s.GetId()
		switch mirrored := stepOf(own, id); {
		case mirrored == nil && hasOpenStep(own) && hasFailed(other):
		case mirrored == nil && hasOpenStep(own):
			return nil // it comes once that is cleared
		case mirrored == nil:
			return &taskspb.UpdateRequest{Task: own.GetId(), AddStep: mirrorOf(s, id, other, l)}
		case !mirrored.GetCleared() && (s.GetCleared() || isOver(other)):
			return &taskspb.UpdateRequest{Task: own.GetId(), ClearSteps: []string{id}}
		}
	}
	return nil
}

// isMirrored reports whether the end of the other task, which is over, may be told: each step of it
// that is to be mirrored was, unless it has failed, and none is open.
func isMirrored(own, other *taskspb.Task, l link) bool {
	return !slices.ContainsFunc(other.GetSteps(), func(s *taskspb.Step) bool {
		mirrored := stepOf(own, l.prefix+s.GetId())
		if l.isExcepted(s.GetId()) {
			return false
		}
		return mirrored == nil && !hasFailed(other) || mirrored != nil && !mirrored.GetCleared()
	})
}

// stepsToBring returns the steps of the other task that the plugin is to be brought: those that
// are open, not mirrored, and were not brought.
func stepsToBring(other *taskspb.Task, l link) (all []*taskspb.Step) {
	for _, s := range other.GetSteps() {
		if !s.GetCleared() && !isOver(other) && l.isExcepted(s.GetId()) && !slices.Contains(l.brought, s.GetId()) {
			all = append(all, s)
		}
	}
	return all
}

// mirrorOf returns the step that mirrors one of the other task.
func mirrorOf(s *taskspb.Step, id string, other *taskspb.Task, l link) *taskspb.Step {
	m := proto.CloneOf(s)
	m.Id, m.Values, m.Submitted, m.Cleared = id, nil, false, false
	if m.GetOf() == nil && !l.isElsewhere() {
		m.Of = &taskspb.StepOf{Task: other.GetId(), Step: s.GetId(), Callsign: other.GetCallsign()}
	}
	return m
}

// isOver reports whether a task has ended.
func isOver(t *taskspb.Task) bool { return t.GetStatus() != taskspb.Status_STATUS_PENDING }

// hasFailed reports whether a task has ended without success.
func hasFailed(t *taskspb.Task) bool {
	return isOver(t) && t.GetStatus() != taskspb.Status_STATUS_SUCCESS
}

// stepOf returns the step of that id, nil for none.
func stepOf(t *taskspb.Task, id string) *taskspb.Step {
	for _, s := range t.GetSteps() {
		if s.GetId() == id {
			return s
		}
	}
	return nil
}

// hasOpenStep reports whether a step of the task is open.
func hasOpenStep(t *taskspb.Task) bool {
	return slices.ContainsFunc(t.GetSteps(), func(s *taskspb.Step) bool { return !s.GetCleared() })
}
