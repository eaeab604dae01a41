package follow

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"dormouse/plugins/tasks/taskspb"
)

// task returns a task with steps, each an id with " x" behind it if it is cleared.
func task(id string, status taskspb.Status, steps ...string) *taskspb.Task {
	t := &taskspb.Task{Id: id, Status: status}
	for _, s := range steps {
		stepID, cleared := strings.CutSuffix(s, " x")
		t.Steps = append(t.Steps, &taskspb.Step{Id: stepID, Cleared: cleared})
	}
	return t
}

// apply makes a change of the steps of a task as the host does.
func apply(t *testing.T, own *taskspb.Task, change *taskspb.UpdateRequest) {
	t.Helper()
	for _, id := range change.GetClearSteps() {
		stepOf(own, id).Cleared = true
	}
	if s := change.GetAddStep(); s != nil {
		if hasOpenStep(own) || stepOf(own, s.GetId()) != nil {
			t.Fatalf("the step %s is added to %v", s.GetId(), own.GetSteps())
		}
		own.Steps = append(own.Steps, proto.CloneOf(s))
	}
}

// mirrored returns the steps of a task after all changes that can be made.
func mirrored(t *testing.T, own, other *taskspb.Task, l link) (steps []string) {
	t.Helper()
	for change := nextChange(own, other, l); change != nil; change = nextChange(own, other, l) {
		apply(t, own, change)
	}
	for _, s := range own.GetSteps() {
		text := s.GetId()
		if s.GetCleared() {
			text += " x"
		}
		steps = append(steps, text)
	}
	return steps
}

const (
	pending = taskspb.Status_STATUS_PENDING
	success = taskspb.Status_STATUS_SUCCESS
	failure = taskspb.Status_STATUS_FAILURE
)

func TestMirror(t *testing.T) {
	l := link{other: "b", prefix: "b.", except: []string{"own"}}
	for name, test := range map[string]struct {
		own, other *taskspb.Task
		want       string
	}{
		"first":                       {task("a", pending), task("b", pending, "1"), "b.1"},
		"cleared there":               {task("a", pending, "b.1"), task("b", pending, "1 x"), "b.1 x"},
		"next":                        {task("a", pending, "b.1"), task("b", pending, "1 x", "2"), "b.1 x,b.2"},
		"came and went in between":    {task("a", pending), task("b", pending, "1 x", "2 x", "3"), "b.1 x,b.2 x,b.3"},
		"waits for a step of its own": {task("a", pending, "mine"), task("b", pending, "1"), "mine"},
		"after a step of its own":     {task("a", pending, "mine x"), task("b", pending, "1"), "mine x,b.1"},
		"excepted":                    {task("a", pending), task("b", pending, "own"), ""},
		"after an excepted one":       {task("a", pending), task("b", pending, "own x", "1"), "b.1"},
		"ended with an open step":     {task("a", pending, "b.1"), task("b", failure, "1"), "b.1 x"},
		"ended unseen":                {task("a", pending), task("b", success, "1 x"), "b.1 x"},
		"failed, a step of its own":   {task("a", pending, "b.1", "mine"), task("b", failure, "0 x", "1", "2 x"), "b.1 x,mine"},
		"ended, a step of its own":    {task("a", pending, "b.1 x", "mine"), task("b", success, "1 x", "2 x"), "b.1 x,mine"},
		"cleared here alone":          {task("a", pending, "b.1 x"), task("b", pending, "1"), "b.1 x"},
	} {
		if got := strings.Join(mirrored(t, test.own, test.other, l), ","); got != test.want {
			t.Errorf("%s: got %s, want %s", name, got, test.want)
		}
		if waits := test.other.GetStatus() == success && hasOpenStep(test.own); isOver(test.other) && isMirrored(test.own, test.other, l) == waits {
			t.Errorf("%s: whether the end may be told is wrong", name)
		}
	}
}

// Whatever is seen of the other task, and whenever, its steps are mirrored in their order, each
// once, and cleared in the end.
func TestMirrorSeesAnything(t *testing.T) {
	for range 200 {
		seed := rand.Uint64()
		dice := rand.New(rand.NewPCG(seed, 0))
		own, other := task("a", pending), task("b", pending)
		l := link{other: "b", prefix: "b."}
		var want []string
		for range dice.IntN(30) {
			if hasOpenStep(other) {
				other.Steps[len(other.Steps)-1].Cleared = true
			} else {
				id := string(rune('a' + len(other.Steps)))
				other.Steps = append(other.Steps, &taskspb.Step{Id: id})
				want = append(want, "b."+id+" x")
			}
			if dice.IntN(3) == 0 {
				mirrored(t, own, other, l)
			}
		}
		other.Status = success
		if got := mirrored(t, own, other, l); !slices.Equal(got, want) || !isMirrored(own, other, l) {
			t.Fatalf("seed %d: got %v, want %v", seed, got, want)
		}
	}
}

func TestStepsToBring(t *testing.T) {
	l := link{other: "b", except: []string{"*"}, brought: []string{"1"}}
	for _, test := range []struct {
		other *taskspb.Task
		want  int
	}{
		{task("b", pending, "1 x", "2"), 1},
		{task("b", pending, "1"), 0},
		{task("b", failure, "1 x", "2"), 0},
		{task("b", pending), 0},
	} {
		if got := stepsToBring(test.other, l); len(got) != test.want {
			t.Errorf("%v: got %v", test.other.GetSteps(), got)
		}
	}
}
