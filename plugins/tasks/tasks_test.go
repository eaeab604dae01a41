package tasks

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell"
	"dormouse/supervisor"
)

const (
	success = taskspb.Status_STATUS_SUCCESS
	failure = taskspb.Status_STATUS_FAILURE
)

// A plugin makes a task, works on it and finishes it; others see what it has done, and not what it
// keeps for itself.
func TestOwnTask(t *testing.T) {
	r := newRig(t, setup{})
	task := r.makeTask(func(q *taskspb.CreateRequest) {
		q.Parameters, q.Data = []byte(`{"a":1}`), []byte(`"secret"`)
		q.Links = []*taskspb.Link{{Type: "of", Href: "/of"}}
	})
	if task.GetStarted() == nil || task.GetRevision() != 1 || len(task.GetId()) < 20 || string(task.GetData()) != `"secret"` {
		t.Errorf("made %v", task)
	}
	r.updateTask(&taskspb.UpdateRequest{
		Task: task.GetId(), Log: []string{"one\ntwo", "three\n"}, Progress: &taskspb.Progress{Value: 1, Target: 3, Unit: "steps"},
		Links: []*taskspb.Link{{Type: "of", Href: "/other"}, {Type: "more", Href: "http://x.example/"}},
	})
	got := r.task(task.GetId())
	if got.GetLog() != "one\ntwo\nthree\n" || got.GetProgress().GetTarget() != 3 || len(got.GetLinks()) != 2 || got.GetLinks()[0].GetHref() != "/other" ||
		got.GetRevision() != 2 || got.GetData() != nil || string(got.GetParameters()) != `{"a":1}` {
		t.Errorf("it is %v", got)
	}
	ended, err := r.finish(t.Context(), "A", &taskspb.FinishRequest{Task: task.GetId(), Status: success, Log: []string{"four"}})
	r.must(err)
	if ended.GetStatus() != success || ended.GetFinished() == nil || !strings.HasSuffix(ended.GetLog(), "three\nfour\n") {
		t.Errorf("ended %v", ended)
	}
	_, err = r.finish(t.Context(), "A", &taskspb.FinishRequest{Task: task.GetId(), Status: success})
	r.must(err)
	_, err = r.finish(t.Context(), "A", &taskspb.FinishRequest{Task: task.GetId(), Status: failure})
	r.refused(err, ErrEnded)
	_, err = r.update(t.Context(), "A", &taskspb.UpdateRequest{Task: task.GetId()})
	r.refused(err, ErrEnded)
	r.expectNothingAsked()
	r.restart()
	if again := r.task(task.GetId()); again.GetLog() != ended.GetLog() || again.GetStatus() != success {
		t.Errorf("after a restart it is %v", again)
	}
}

// A task of another is unknown to a plugin that wants to change it.
func TestTasksOfOthers(t *testing.T) {
	r := newRig(t, setup{})
	id := r.makeTask(nil).GetId()
	_, err := r.update(t.Context(), "B", &taskspb.UpdateRequest{Task: id})
	r.refused(err, ErrUnknown)
	_, err = r.finish(t.Context(), "B", &taskspb.FinishRequest{Task: id, Status: success})
	r.refused(err, ErrUnknown)
	_, err = r.putOutput(t.Context(), "B", id, &taskspb.Output{Name: "x"})
	r.refused(err, ErrUnknown)
	for _, unknown := range []string{"nothing", strings.Repeat("x", 1000), "../" + id} {
		_, err = r.Get(t.Context(), unknown)
		r.refused(err, ErrUnknown)
		_, err = r.Cancel(t.Context(), unknown)
		r.refused(err, ErrUnknown)
	}
	_, err = r.Get(t.Context(), "")
	r.refused(err, ErrInvalid)
	if !strings.Contains(err.Error(), "the id of the task is missing") {
		t.Errorf("without an id: %v", err)
	}
	_, err = r.Submit(t.Context(), id, "none", nil)
	r.refused(err, ErrUnknown)
	_, _, err = r.OpenOutput(t.Context(), id, "none")
	r.refused(err, ErrUnknown)
	if got := r.task(id); got.GetRevision() != 1 {
		t.Errorf("it has changed: %v", got)
	}
}

// A long log has its first and last lines, and says how many are between.
func TestLongLog(t *testing.T) {
	r := newRig(t, setup{})
	id := r.makeTask(nil).GetId()
	const lines, atOnce = 1_000_000, 5000
	for at := 0; at < lines; at += atOnce {
		q := &taskspb.UpdateRequest{Task: id}
		for n := range atOnce {
			q.Log = append(q.Log, fmt.Sprintf("line %d", at+n))
		}
		r.updateTask(q)
	}
	log := r.task(id).GetLog()
	all := strings.Split(strings.TrimSuffix(log, "\n"), "\n")
	left, shown := 0, 0
	for at, line := range all {
		if n, err := fmt.Sscanf(line, "… %d lines are left out …", &left); n == 1 && err == nil {
			shown = at
		}
	}
	if all[0] != "line 0" || all[len(all)-1] != fmt.Sprintf("line %d", lines-1) || left+len(all)-1 != lines {
		t.Errorf("it begins with %q, ends with %q, and of %d lines there are %d, %d are left out", all[0], all[len(all)-1], lines, len(all)-1, left)
	}
	if all[shown-1] != fmt.Sprintf("line %d", shown-1) || all[shown+1] != fmt.Sprintf("line %d", shown+left) {
		t.Errorf("around what is left out stand %q and %q", all[shown-1], all[shown+1])
	}
	if len(log) > logHead+logTail+logSlack+100 {
		t.Errorf("it has %d bytes", len(log))
	}
}

// A line of the log is text and of bounded length.
func TestWrongLines(t *testing.T) {
	r := newRig(t, setup{})
	id := r.makeTask(nil).GetId()
	r.updateTask(&taskspb.UpdateRequest{Task: id, Log: []string{"a\xffb", "c\x00d\r\n", "", strings.Repeat("é", maxLine)}})
	got := strings.Split(r.task(id).GetLog(), "\n")
	if len(got) != 5 || got[0] != "a\uFFFDb" || got[1] != "c\uFFFDd" || got[2] != "" || len(got[3]) > maxLine+len("…") || !strings.HasSuffix(got[3], "é…") {
		t.Errorf("got %.60q", got)
	}
}

// A progress that JSON has no number for is refused: the task could not be shown.
func TestEndlessProgress(t *testing.T) {
	r := newRig(t, setup{})
	id := r.makeTask(nil).GetId()
	for _, p := range []*taskspb.Progress{{Value: math.NaN()}, {Start: math.Inf(-1)}, {Target: math.Inf(1)}} {
		_, err := r.update(t.Context(), "A", &taskspb.UpdateRequest{Task: id, Progress: p})
		r.refused(err, ErrInvalid)
	}
}

// The list of steps only grows, one is open at most, and one that is there already is not added
// again.
func TestSteps(t *testing.T) {
	r := newRig(t, setup{})
	id := r.makeTask(nil).GetId()
	add := func(step string, clears ...string) (*taskspb.UpdateResponse, error) {
		return r.update(t.Context(), "A", &taskspb.UpdateRequest{Task: id, AddStep: &taskspb.Step{Id: step, Title: step, Schema: []byte(`{}`)}, ClearSteps: clears})
	}
	_, err := add("one")
	r.must(err)
	_, err = add("two")
	r.refused(err, ErrState)
	answer, err := add("one")
	r.must(err)
	if answer.GetStep().GetCleared() || answer.GetStep().GetId() != "one" {
		t.Errorf("got %v", answer)
	}
	_, err = add("two", "one")
	r.must(err)
	answer, err = add("one")
	r.must(err)
	if !answer.GetStep().GetCleared() {
		t.Errorf("a step that was cleared is %v", answer.GetStep())
	}
	_, err = r.update(t.Context(), "A", &taskspb.UpdateRequest{Task: id, ClearSteps: []string{"three"}})
	r.refused(err, ErrUnknown)
	steps := r.task(id).GetSteps()
	if len(steps) != 2 || !steps[0].GetCleared() || steps[1].GetCleared() || steps[1].GetTitle() != "two" {
		t.Errorf("it has %v", steps)
	}
	_, err = r.finish(t.Context(), "A", &taskspb.FinishRequest{Task: id, Status: success})
	r.must(err)
	if steps = r.task(id).GetSteps(); !steps[1].GetCleared() {
		t.Errorf("after its end it has %v", steps)
	}
}

// Values for a step are given to the plugin once; those that it refuses open the step again.
func TestSubmit(t *testing.T) {
	r := newRig(t, setup{})
	id := r.makeTask(nil).GetId()
	r.updateTask(&taskspb.UpdateRequest{Task: id, AddStep: &taskspb.Step{Id: "s", Schema: []byte(`{"type":"object","properties":{"n":{"type":"integer"}}}`)}})
	r.answers(func(any) (proto.Message, error) { return nil, status.Error(codes.InvalidArgument, "too small") })
	_, err := r.Submit(t.Context(), id, "s", json.RawMessage(`{"n":1}`))
	r.refused(err, ErrInvalid)
	if !strings.Contains(err.Error(), "too small") {
		t.Errorf("the error is %v", err)
	}
	r.expectAsked(`A submit s {"n":1}`)
	if s := r.task(id).GetSteps()[0]; s.GetSubmitted() || s.GetCleared() {
		t.Errorf("a step whose values were refused is %v", s)
	}
	_, err = r.Submit(t.Context(), id, "s", json.RawMessage(`{"n":"x"}`))
	r.refused(err, ErrInvalid)
	if !strings.Contains(err.Error(), "in the values /n") {
		t.Errorf("the error does not name the member: %v", err)
	}
	r.expectNothingAsked()
	r.answers(nil)
	got, err := r.Submit(t.Context(), id, "s", nil)
	r.must(err)
	r.expectAsked(`A submit s {}`)
	if s := got.GetSteps()[0]; !s.GetCleared() || s.GetSubmitted() || s.GetValues() != nil {
		t.Errorf("it is %v", s)
	}
	_, err = r.Submit(t.Context(), id, "s", nil)
	r.refused(err, ErrState)
	r.updateTask(&taskspb.UpdateRequest{Task: id, AddStep: &taskspb.Step{Id: "elsewhere", Href: "http://x.example/"}})
	_, err = r.Submit(t.Context(), id, "elsewhere", nil)
	r.refused(err, ErrState)
	for _, wrong := range []string{"[]", "1", "{", "\xff"} {
		_, err = r.Submit(t.Context(), id, "s", json.RawMessage(wrong))
		r.refused(err, ErrInvalid)
	}
	r.expectNothingAsked()
}

// What was submitted to a plugin that sleeps wakes it, also if calls do not; a plugin that is down
// gets it when it goes on with the task.
func TestSubmitWakes(t *testing.T) {
	r := newRig(t, setup{})
	id := r.makeTask(func(q *taskspb.CreateRequest) { q.Waits, q.Resumes = true, 1 }).GetId()
	r.updateTask(&taskspb.UpdateRequest{Task: id, AddStep: &taskspb.Step{Id: "s"}})
	r.hibernateA()
	_, err := r.Submit(t.Context(), id, "s", nil)
	r.must(err)
	r.expectAsked("A submit s {}")
	if state := r.shell("A").State(); state != shell.Activated {
		t.Errorf("it is %s", state)
	}
	r.updateTask(&taskspb.UpdateRequest{Task: id, AddStep: &taskspb.Step{Id: "s2"}})
	r.must(r.shell("A").Deactivate(t.Context(), shell.Requested))
	got, err := r.Submit(t.Context(), id, "s2", json.RawMessage(`{"x":[1]}`))
	r.must(err)
	if !got.GetSteps()[1].GetSubmitted() {
		t.Errorf("it is %v", got)
	}
	r.expectNothingAsked()
	r.must(r.shell("A").Activate(t.Context(), shell.Requested))
	r.expectAsked("A run t 1", `A submit s2 {"x":[1]}`)
	r.until(id, func(t *taskspb.Task) bool { return t.GetSteps()[1].GetCleared() })
}

// A task that others start is on disk before the plugin is asked, which is asked once.
func TestStart(t *testing.T) {
	r := newRig(t, setup{})
	r.answers(func(any) (proto.Message, error) {
		return &taskspb.RunResponse{Resumes: 2, Quiet: durationpb.New(time.Minute)}, nil
	})
	task, err := r.Start(t.Context(), "A", "work", json.RawMessage(`{"n":1}`))
	r.must(err)
	r.expectAsked("A run work 0")
	got := r.until(task.GetId(), func(t *taskspb.Task) bool { return t.GetStarted() != nil })
	if got.GetResumes() != 2 || got.GetQuiet().AsDuration() != time.Minute || string(got.GetParameters()) != `{"n":1}` {
		t.Errorf("it is %v", got)
	}
	r.answers(func(any) (proto.Message, error) { return nil, status.Error(codes.InvalidArgument, "not so") })
	task, err = r.Start(t.Context(), "A", "bad", nil)
	r.must(err)
	if got := r.untilEnded(task.GetId()); got.GetStatus() != failure || !strings.Contains(got.GetReason(), "not so") || !strings.HasSuffix(got.GetLog(), "not so\n") {
		t.Errorf("it is %v", got)
	}
	_, err = r.Start(t.Context(), "nothing", "", nil)
	r.refused(err, ErrNoInstance)
	_, err = r.Start(t.Context(), Callsign, "", nil)
	r.refused(err, ErrNoWorker)
	_, err = r.Start(t.Context(), "A", "", json.RawMessage(`[1]`))
	r.refused(err, ErrInvalid)
	_, err = r.Start(t.Context(), "A", "", json.RawMessage(`{"a":"`+strings.Repeat("x", MaxJSON)+`"}`))
	r.refused(err, ErrTooLarge)
	r.must(r.shell("B").Deactivate(t.Context(), shell.Requested))
	_, err = r.Start(t.Context(), "B", "", nil)
	r.refused(err, shell.ErrUnavailable)
	_, err = r.Start(t.Context(), "A", "", nil, Subscription{URL: "http://x.example/"})
	r.refused(err, ErrInvalid)
}

// The tasks of a plugin that ends are FAILURE with the reason, or go on in its next life as often
// as it has said.
func TestOwnerEnds(t *testing.T) {
	r := newRig(t, setup{})
	lost := r.makeTask(nil).GetId()
	goes := r.makeTask(func(q *taskspb.CreateRequest) { q.Title, q.Resumes, q.Data = "goes on", 1, []byte("7") }).GetId()
	other, err := r.create(t.Context(), "B", &taskspb.CreateRequest{})
	r.must(err)
	r.plugin("A").Kill()
	r.expectAsked("A run goes on 1")
	if got := r.untilEnded(lost); got.GetStatus() != failure || !strings.HasPrefix(got.GetReason(), "the plugin has ended: ") || !strings.HasSuffix(got.GetLog(), got.GetReason()+"\n") {
		t.Errorf("the lost one is %v", got)
	}
	got := r.until(goes, func(t *taskspb.Task) bool { return t.GetResumed() == 1 })
	if string(got.GetData()) != "7" || got.GetStatus() != taskspb.Status_STATUS_PENDING {
		t.Errorf("the one that goes on is %v", got)
	}
	r.must(r.shell("A").Deactivate(t.Context(), shell.Requested))
	if got := r.untilEnded(goes); got.GetReason() != "the plugin was deactivated: requested" {
		t.Errorf("the one that has gone on is %v", got)
	}
	if got := r.task(other.GetId()); got.GetStatus() != taskspb.Status_STATUS_PENDING {
		t.Errorf("that of another plugin is %v", got)
	}
}

// A task belongs to the life in which it was made: one of the next life stays when the end of the
// life before is seen to.
func TestLives(t *testing.T) {
	r := newRig(t, setup{})
	for range 20 {
		before := r.makeTask(nil).GetId()
		r.must(r.shell("A").Restart(t.Context(), shell.Requested))
		after := r.makeTask(nil).GetId()
		if got := r.untilEnded(before); got.GetReason() != "the plugin was replaced" {
			t.Fatalf("before: %v", got)
		}
		if got := r.task(after); got.GetStatus() != taskspb.Status_STATUS_PENDING {
			t.Fatalf("after: %v", got)
		}
	}
}

// A hibernated plugin keeps its tasks, and so does one that the next host adopts.
func TestTasksSleepAndAreAdopted(t *testing.T) {
	r := newRig(t, setup{})
	id := r.makeTask(nil).GetId()
	r.hibernateA()
	r.must(r.shell("A").Activate(t.Context(), shell.Requested))
	if got := r.task(id); got.GetStatus() != taskspb.Status_STATUS_PENDING {
		t.Errorf("after a sleep it is %v", got)
	}
	r.supervisor.Leave(t.Context())
	r.must(r.store.Close())
	r.o.adopts = true
	r.open()
	if got := r.task(id); got.GetStatus() != taskspb.Status_STATUS_PENDING {
		t.Errorf("after an adoption it is %v", got)
	}
	r.updateTask(&taskspb.UpdateRequest{Task: id, Log: []string{"on"}})
	r.o.adopts = false
	r.restart()
	if got := r.untilEnded(id); got.GetReason() != "the host was stopped" {
		t.Errorf("after the host was stopped it is %v", got)
	}
}

// A task that the host was killed with: it ends if the plugin begins anew.
func TestHostIsKilled(t *testing.T) {
	r := newRig(t, setup{})
	lost, goes := r.makeTask(nil).GetId(), r.makeTask(func(q *taskspb.CreateRequest) { q.Title, q.Resumes = "goes on", 1 }).GetId()
	r.answers(func(any) (proto.Message, error) { return nil, errSilent })
	started, err := r.Start(t.Context(), "A", "started", nil)
	r.must(err)
	r.expectAsked("A run started 0")
	killed := r.copyOfStore()
	r.answers(nil)
	r.close()
	r.o.dir = killed
	r.open()
	r.expectAsked("A run goes on 1", "A run started 1")
	if got := r.untilEnded(lost); got.GetReason() != "the plugin has ended with an earlier host" {
		t.Errorf("the lost one is %v", got)
	}
	for _, id := range []string{goes, started.GetId()} {
		r.until(id, func(t *taskspb.Task) bool { return t.GetStarted() != nil && t.GetResumed() == 1 })
	}
}

// A plugin that does not end over a task is asked in three lives at most to begin with it.
func TestTaskThatKills(t *testing.T) {
	r := newRig(t, setup{})
	r.answers(func(any) (proto.Message, error) {
		r.plugin("A").Kill()
		return nil, errSilent
	})
	task, err := r.Start(t.Context(), "A", "kills", nil)
	r.must(err)
	r.expectAsked("A run kills 0", "A run kills 1", "A run kills 2")
	if got := r.untilEnded(task.GetId()); got.GetStatus() != failure {
		t.Errorf("it is %v", got)
	}
	r.expectNothingAsked()
}

// What was due in a life that is over by now is not asked of the next one: the end of the first is
// seen to before.
func TestDueInLifeThatIsOver(t *testing.T) {
	r := newRig(t, setup{})
	step := &taskspb.Step{Id: "s", Title: "s"}
	id := r.makeTask(func(q *taskspb.CreateRequest) { q.Resumes = 5 }).GetId()
	r.updateTask(&taskspb.UpdateRequest{Task: id, AddStep: step})
	task := r.task(id)
	_, life, _ := r.owners.takeEnd("A")
	r.owners.endLife("A", "a test", false)
	for _, d := range []due{{run: true}, {cancel: true}, {submit: step}} {
		d.task, d.life = task, life
		r.must(r.ask(r.Context(), taskspb.NewWorkerClient(r.shell("A").Conn()), d))
	}
	r.expectNothingAsked()
	if got := r.task(id); got.GetRevision() != task.GetRevision() {
		t.Errorf("it has become %v", got)
	}
	r.attend("A")
	r.expectAsked("A run t 1")
}

// A task that is to be cancelled ends when the plugin ends it, else after the grace.
func TestCancel(t *testing.T) {
	r := newRig(t, setup{config: func(c *configs.Tasks) { c.CancelGrace = configs.Duration(50 * time.Millisecond) }})
	id := r.makeTask(nil).GetId()
	got, err := r.Cancel(t.Context(), id)
	r.must(err)
	if !got.GetCancelled() || got.GetStatus() != taskspb.Status_STATUS_PENDING {
		t.Errorf("it is %v", got)
	}
	r.expectAsked("A cancel")
	if got := r.untilEnded(id); got.GetReason() != "cancelled" || got.GetStatus() != failure {
		t.Errorf("it ended %v", got)
	}
	_, err = r.finish(t.Context(), "A", &taskspb.FinishRequest{Task: id, Status: failure, Reason: "as asked"})
	r.must(err) // it is too late, and agrees
	_, err = r.Cancel(t.Context(), id)
	r.refused(err, ErrEnded)

	r.Config.CancelGrace = configs.Duration(time.Hour)
	id = r.makeTask(nil).GetId()
	_, err = r.Cancel(t.Context(), id)
	r.must(err)
	r.expectAsked("A cancel")
	if !r.updateTask(&taskspb.UpdateRequest{Task: id}).GetCancelled() {
		t.Error("an update does not say that the task is to end")
	}
	got, err = r.finish(t.Context(), "A", &taskspb.FinishRequest{Task: id, Status: success})
	r.must(err)
	if got.GetStatus() != success {
		t.Errorf("one that was done is %v", got)
	}

	r.answers(func(any) (proto.Message, error) { return nil, status.Error(codes.Unimplemented, "no") })
	id = r.makeTask(nil).GetId()
	_, err = r.Cancel(t.Context(), id)
	r.must(err)
	if got := r.untilEnded(id); got.GetReason() != "cancelled" {
		t.Errorf("one that can't be told is %v", got)
	}
}

// A pending task keeps its plugin awake unless it waits.
func TestKeepsAwake(t *testing.T) {
	r := newRig(t, setup{})
	a := r.shell("A")
	holds := func() int { return a.UseStatus().Holds }
	id := r.makeTask(nil).GetId()
	if holds() != 1 {
		t.Error("a pending task does not keep its plugin awake")
	}
	waits := true
	r.updateTask(&taskspb.UpdateRequest{Task: id, Waits: &waits})
	if holds() != 0 {
		t.Error("a task that waits keeps its plugin awake")
	}
	second := r.makeTask(nil).GetId()
	waits = false
	r.updateTask(&taskspb.UpdateRequest{Task: id, Waits: &waits})
	for _, id := range []string{id, second} {
		if holds() != 1 {
			t.Error("a pending task does not keep its plugin awake")
		}
		_, err := r.finish(t.Context(), "A", &taskspb.FinishRequest{Task: id, Status: success})
		r.must(err)
	}
	if holds() != 0 {
		t.Error("a task that has ended keeps its plugin awake")
	}
}

// A task whose plugin shows no sign of life is stuck, until it does.
func TestStuck(t *testing.T) {
	r := newRig(t, setup{})
	id := r.makeTask(func(q *taskspb.CreateRequest) { q.Quiet = durationpb.New(time.Hour) }).GetId()
	past := func(d time.Duration) {
		r.owners.mu.Lock()
		defer r.owners.mu.Unlock()
		r.owners.tasks[id].sign = time.Now().Add(-d)
	}
	if past(59 * time.Minute); r.task(id).GetStuck() {
		t.Error("it is stuck too early")
	}
	past(2 * time.Hour)
	if r.task(id).GetStuck() {
		t.Error("it is stuck although its plugin was just started")
	}
	r.updateTask(&taskspb.UpdateRequest{Task: id, Quiet: durationpb.New(time.Millisecond)})
	past(2 * time.Hour)
	for !r.task(id).GetStuck() { // its plugin has been awake for a millisecond soon
		if t.Context().Err() != nil {
			t.Fatal("it is never stuck")
		}
	}
	if _, _, stuck := r.pendingFigures(); stuck != 1 {
		t.Errorf("%d are stuck", stuck)
	}
	r.hibernateA()
	if r.task(id).GetStuck() {
		t.Error("it is stuck although its plugin sleeps")
	}
}

// An instance may have so many pending tasks, and no more.
func TestTooManyTasks(t *testing.T) {
	r := newRig(t, setup{config: func(c *configs.Tasks) { c.MaxPending = 3 }})
	var made []string
	for {
		task, err := r.create(t.Context(), "A", &taskspb.CreateRequest{})
		if err != nil {
			r.refused(err, ErrFull)
			break
		}
		made = append(made, task.GetId())
	}
	if len(made) != 3 {
		t.Errorf("there may be %d", len(made))
	}
	_, err := r.create(t.Context(), "B", &taskspb.CreateRequest{})
	r.must(err)
	_, err = r.finish(t.Context(), "A", &taskspb.FinishRequest{Task: made[0], Status: failure, Reason: "enough"})
	r.must(err)
	r.makeTask(nil)
}

// Parts of a task that are not as they must be are refused, and change nothing.
func TestWrongRequests(t *testing.T) {
	r := newRig(t, setup{})
	id := r.makeTask(nil).GetId()
	big := strings.Repeat("x", MaxData+1)
	for name, q := range map[string]*taskspb.UpdateRequest{
		"data":         {Data: []byte("{")},
		"long data":    {Data: []byte(`"` + big + `"`)},
		"link":         {Links: []*taskspb.Link{{Href: "x"}}},
		"step":         {AddStep: &taskspb.Step{}},
		"path":         {AddStep: &taskspb.Step{Id: "a/b"}},
		"schema":       {AddStep: &taskspb.Step{Id: "a", Schema: []byte("no")}},
		"no schema":    {AddStep: &taskspb.Step{Id: "a", Schema: []byte(`{"type":"thing"}`)}},
		"address":      {AddStep: &taskspb.Step{Id: "a", Href: "http://x\n"}},
		"long id":      {AddStep: &taskspb.Step{Id: strings.Repeat("x", maxName+1)}},
		"unit":         {Progress: &taskspb.Progress{Unit: "\x01"}},
		"title":        {Title: new("a\nb")},
		"unknown step": {ClearSteps: []string{"a"}, Log: []string{"not logged"}},
	} {
		q.Task = id
		if _, err := r.update(t.Context(), "A", q); !errors.Is(err, ErrInvalid) && !errors.Is(err, ErrTooLarge) && !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if got := r.task(id); got.GetRevision() != 1 || got.GetLog() != "" {
		t.Errorf("it has changed: %v", got)
	}
	_, err := r.finish(t.Context(), "A", &taskspb.FinishRequest{Task: id})
	r.refused(err, ErrInvalid)
	_, err = r.finish(t.Context(), "A", &taskspb.FinishRequest{Task: id, Status: 7})
	r.refused(err, ErrInvalid)
}

// A list has pages, newest first, of those that are asked for.
func TestList(t *testing.T) {
	r := newRig(t, setup{})
	var ids []string
	for range 5 {
		ids = append(ids, r.makeTask(nil).GetId())
	}
	_, err := r.create(t.Context(), "B", &taskspb.CreateRequest{})
	r.must(err)
	_, err = r.finish(t.Context(), "A", &taskspb.FinishRequest{Task: ids[1], Status: success})
	r.must(err)
	var got []string
	for page := ""; ; {
		answer, err := r.List(t.Context(), &taskspb.ListRequest{Callsign: "A", Status: taskspb.Status_STATUS_PENDING.Enum(), Limit: 3, Page: page})
		r.must(err)
		for _, task := range answer.GetTasks() {
			got = append(got, task.GetId())
		}
		if page = answer.GetNext(); page == "" {
			break
		}
	}
	if want := []string{ids[4], ids[3], ids[2], ids[0]}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	all, err := r.List(t.Context(), &taskspb.ListRequest{})
	r.must(err)
	if len(all.GetTasks()) != 6 || all.GetTasks()[0].GetCallsign() != "B" {
		t.Errorf("all are %v", all)
	}
	_, err = r.List(t.Context(), &taskspb.ListRequest{Page: "x"})
	r.refused(err, ErrInvalid)
}

// The changes of a task reach the hook in the transaction, and the events of the built-in; a wait
// ends with the next change.
func TestChangesAreTold(t *testing.T) {
	r := newRig(t, setup{})
	id := r.makeTask(nil).GetId()
	waited := make(chan *taskspb.Task)
	go func() {
		task, err := r.Wait(t.Context(), id, 1, patience)
		if err != nil {
			t.Error(err)
		}
		waited <- task
	}()
	r.updateTask(&taskspb.UpdateRequest{Task: id, AddStep: &taskspb.Step{Id: "s"}})
	if task := <-waited; task.GetRevision() < 2 {
		t.Errorf("a wait ended with %v", task)
	}
	r.updateTask(&taskspb.UpdateRequest{Task: id}) // a sign of life tells nothing
	_, err := r.finish(t.Context(), "A", &taskspb.FinishRequest{Task: id, Status: success})
	r.must(err)
	r.mu.Lock()
	var got []string
	for _, c := range r.changes {
		got = append(got, fmt.Sprintf("%d %v %s", c.Revision, c.Events.Names(), statusWord(c.Status)))
	}
	r.mu.Unlock()
	if want := []string{"1 [status details] PENDING", "2 [steps] PENDING", "4 [status details steps] SUCCESS"}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	ends := time.After(patience)
	for end := ""; !strings.Contains(end, "SUCCESS"); {
		select {
		case end = <-r.events:
		case <-ends:
			t.Fatal("the end was not told")
		}
	}
}

// Parameters that are not as the entry point of the plugin says are refused with the wrong member.
func TestStartChecksParameters(t *testing.T) {
	entry := &shell.EntryPoint{Kind: shell.Processing, Schema: []byte(`{"type":"object","required":["data"],"properties":{"data":{"type":"string"}}}`)}
	r := newRig(t, setup{profile: shell.Profile{Entry: entry}})
	for parameters, want := range map[string]string{``: "/data is missing", `{"data":1}`: "in the parameters /data"} {
		_, err := r.Start(t.Context(), "A", "", json.RawMessage(parameters))
		r.refused(err, ErrInvalid)
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", parameters, err)
		}
	}
	_, err := r.Start(t.Context(), "A", "good", json.RawMessage(`{"data":"x"}`))
	r.must(err)
	r.expectAsked("A run good 0")
}

// The tasks of a virtual plugin belong to its parent's life: they end and go on with the parent's
// plugin, and keep it awake.
func TestTasksOfVirtualPlugin(t *testing.T) {
	r := newRig(t, setup{})
	r.must(r.supervisor.CreateVirtual(t.Context(), "A", supervisor.Virtual{Callsign: "Child"}))
	lost, err := r.create(t.Context(), "Child", &taskspb.CreateRequest{})
	r.must(err)
	goes, err := r.create(t.Context(), "Child", &taskspb.CreateRequest{Title: "goes on", Resumes: 1})
	r.must(err)
	if holds := r.shell("A").UseStatus().Holds; holds != 1 {
		t.Errorf("the parent is held awake by %d", holds)
	}
	r.hibernateA()
	r.must(r.shell("A").Activate(t.Context(), shell.Requested))
	if got := r.task(lost.GetId()); got.GetStatus() != taskspb.Status_STATUS_PENDING {
		t.Errorf("after a sleep it is %v", got)
	}
	r.must(r.shell("A").Restart(t.Context(), shell.Requested))
	r.expectAsked("A run goes on 1")
	if got := r.untilEnded(lost.GetId()); got.GetReason() != "the plugin was replaced" {
		t.Errorf("the lost one is %v", got)
	}
	started, err := r.Start(t.Context(), "Child", "child's", nil)
	r.must(err)
	r.expectAsked("A run child's 0")
	r.must(r.supervisor.RemoveVirtual(t.Context(), "A", "Child"))
	for _, id := range []string{goes.GetId(), started.GetId()} {
		got, err := r.Wait(t.Context(), id, 1000, patience)
		r.must(err)
		if got.GetReason() != "the instance was destroyed" {
			t.Errorf("after it was removed it is %v", got)
		}
	}
}

// The tasks of an instance that the next host does not have end; those of one whose file it had to
// leave out stay until the file is mended. Then they end if the file does not name the instance any
// more; else they keep its plugin awake as before.
func TestInstanceIsGone(t *testing.T) {
	const gone = "there is no such instance any more"
	r := newRig(t, setup{})
	left := func(leftOut configs.LeftOutFiles) { // the host ends, its plugins run on, and the next one has no A
		r.supervisor.Leave(t.Context())
		r.must(r.store.Close())
		r.o.callsigns, r.o.leftOut, r.o.adopts = []string{"B"}, leftOut, true
		r.open()
	}
	missing := configs.LeftOutFiles{{Callsigns: []string{"A"}}}
	id := r.makeTask(func(q *taskspb.CreateRequest) { q.Resumes = 1 }).GetId()
	left(missing)
	left(missing)
	if got := r.task(id); got.GetStatus() != taskspb.Status_STATUS_PENDING {
		t.Errorf("while the instance is missing it is %v", got)
	}
	if _, err := r.supervisor.Provide(t.Context(), supervisor.FilesSource, []configs.Plugin{r.config("A"), r.config("B")}); err != nil {
		t.Fatal(err)
	}
	for late := time.After(patience); r.shell("A").UseStatus().Holds != 1; {
		select {
		case <-time.After(time.Millisecond):
		case <-late:
			t.Fatal("the task does not keep its plugin awake")
		}
	}
	if got := r.task(id); got.GetStatus() != taskspb.Status_STATUS_PENDING {
		t.Errorf("once the instance is back it is %v", got)
	}
	left(missing)
	if _, err := r.supervisor.Provide(t.Context(), supervisor.FilesSource, []configs.Plugin{r.config("B")}); err != nil {
		t.Fatal(err)
	}
	if got := r.untilEnded(id); got.GetReason() != gone {
		t.Errorf("once the file does not name the instance it is %v", got)
	}
	r.o.callsigns = []string{"A", "B"}
	r.restart()
	id = r.makeTask(nil).GetId()
	left(nil)
	if got := r.untilEnded(id); got.GetReason() != gone {
		t.Errorf("it is %v", got)
	}
}

// A log of which a damaged store has lost rows is shorter than its task says. It goes on.
func TestLogOfDamagedStore(t *testing.T) {
	r := newRig(t, setup{})
	id := r.makeTask(nil).GetId()
	long := []string{strings.Repeat("x", maxLine), strings.Repeat("y", maxLine)}
	lose := func() {
		r.must(r.store.Update(t.Context(), func(tx *store.Tx) error {
			_, err := tx.Exec("DELETE FROM task_log")
			return err
		}))
	}
	for _, times := range []int{6, 20} { // before it was cut, and after
		for range times {
			r.updateTask(&taskspb.UpdateRequest{Task: id, Log: long})
		}
		lose()
		for range 6 {
			r.updateTask(&taskspb.UpdateRequest{Task: id, Log: []string{"on"}})
			r.updateTask(&taskspb.UpdateRequest{Task: id, Log: long})
		}
		if got := r.task(id).GetLog(); !strings.Contains(got, "on\n") {
			t.Errorf("the log is %.100q", got)
		}
	}
}
