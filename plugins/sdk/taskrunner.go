package sdk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell/shellpb"
)

// TaskRunner is a plugin that runs tasks which others start. Information.Tasks says how the host
// treats them.
type TaskRunner interface {
	// RunTask works on one task, in a goroutine of its own, and returns when the work is done: nil
	// ends the task with SUCCESS, an error with FAILURE for that reason. It may use the methods of
	// Task, except for Succeed and Fail. ctx ends with ErrCancelled as its cause when the task is
	// to be cancelled, and with another one when the plugin ends; RunTask must then return soon.
	//
	// If the plugin ends before the task, RunTask is called again in its next life, as often as
	// the rules say, with Task.Resumed above 0.
	RunTask(ctx context.Context, t *Task) error
}

// ErrCancelled is the cause with which the context of a task ends that is to be cancelled.
var ErrCancelled = errors.New("cancelled")

// errPluginEnds is the cause with which the context of a task ends when the plugin does.
var errPluginEnds = errors.New("the plugin ends")

// tasks are the tasks that this life of a plugin works on. It serves the host's calls about them.
type tasks struct {
	taskspb.UnimplementedWorkerServer
	runner TaskRunner // nil for a plugin that runs only tasks of its own
	rules  TaskRules
	log    *slog.Logger

	life context.Context // ends with the plugin
	end  context.CancelCauseFunc

	mu      sync.Mutex
	host    *Host // nil before Initialize
	own     string
	working map[string]*work
	running sync.WaitGroup
}

// work is what the plugin does for one task.
type work struct {
	cancel context.CancelCauseFunc // nil for a task that the plugin has created
	steps  map[string]*expectation
	// followed has where what comes of other tasks goes, by invitedKey or the task's name.
	followed map[string]*followedEvents
}

// expectation is a step whose values are waited for, or were given before that.
type expectation struct {
	check func(json.RawMessage) error
	given chan json.RawMessage // has room for one
}

// newTasks returns the tasks of a plugin that works on none yet.
func newTasks(p Plugin, rules TaskRules, log *slog.Logger) *tasks {
	t := &tasks{rules: rules, log: log, working: make(map[string]*work)}
	t.runner, _ = p.(TaskRunner)
	t.life, t.end = context.WithCancelCause(context.Background())
	return t
}

// begin lets tasks use the host, as the instance of that callsign.
func (t *tasks) begin(host *Host, callsign string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.host, t.own = host, callsign
}

// fillRules puts the plugin's own rules in the place of zero ones.
func (t *tasks) fillRules(rules *TaskRules) {
	if *rules == (TaskRules{}) {
		*rules = t.rules
	}
}

// patienceWithTasks is how long RunTask has to return when the plugin ends.
const patienceWithTasks = 2 * time.Second

// endAll ends the work on all tasks, and waits for RunTask for a while. The host knows what becomes
// of the tasks.
func (t *tasks) endAll(ctx context.Context) {
	t.end(errPluginEnds)
	ctx, cancel := context.WithTimeout(ctx, patienceWithTasks)
	defer cancel()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		t.running.Wait()
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		t.log.Warn("the plugin ends while it still works on tasks")
	}
}

// workOn returns what the plugin does for a task, which it makes if need be. The caller holds mu.
func (t *tasks) workOn(id string) *work {
	w := t.working[id]
	if w == nil {
		w = &work{steps: make(map[string]*expectation)}
		t.working[id] = w
	}
	return w
}

// add returns a task that the plugin has created.
func (t *tasks) add(made *taskspb.Task, host *Host) *Task {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.workOn(made.GetId())
	return t.taskFrom(made, host)
}

// taskFrom returns the task of a message. The host is asked for the instance that it belongs to.
func (t *tasks) taskFrom(m *taskspb.Task, host *Host) *Task {
	if m.GetCallsign() != t.own {
		host = host.As(m.GetCallsign())
	}
	return &Task{
		ID: m.GetId(), Callsign: m.GetCallsign(), Title: m.GetTitle(), Parameters: m.GetParameters(), Resumed: int(m.GetResumed()),
		host: host, tasks: t, data: m.GetData(),
	}
}

// remove forgets a task that has ended.
func (t *tasks) remove(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.working, id)
}

// cancel ends the context of a task that is to be cancelled.
func (t *tasks) cancel(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if w := t.working[id]; w != nil && w.cancel != nil {
		w.cancel(ErrCancelled)
	}
}

// Run begins to work on a task, unless the plugin does so already.
func (t *tasks) Run(_ context.Context, r *taskspb.RunRequest) (*taskspb.RunResponse, error) {
	answer := &taskspb.RunResponse{Quiet: durationOrNone(t.rules.Quiet), Resumes: uint32(max(t.rules.Resumes, 0))}
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.runner == nil:
		return nil, status.Error(codes.Unimplemented, "the plugin runs no tasks")
	case t.host == nil || t.life.Err() != nil:
		return nil, status.Error(codes.Unavailable, "the plugin is not initialized")
	case t.working[r.GetTask().GetId()] != nil:
		return answer, nil
	}
	w := t.workOn(r.GetTask().GetId())
	ctx, cancel := context.WithCancelCause(t.life)
	w.cancel = cancel
	task := t.taskFrom(r.GetTask(), t.host)
	t.running.Go(func() {
		defer cancel(nil)
		t.runAndFinish(ctx, task)
	})
	return answer, nil
}

// runAndFinish calls RunTask and ends the task. If the plugin ends, the host decides about it.
func (t *tasks) runAndFinish(ctx context.Context, task *Task) {
	err := t.run(ctx, task)
	defer t.remove(task.ID)
	switch {
	case errors.Is(context.Cause(ctx), errPluginEnds):
		return
	case err == nil:
		err = task.Succeed(t.life)
	case errors.Is(context.Cause(ctx), ErrCancelled):
		err = task.Fail(t.life, ErrCancelled.Error())
	default:
		err = task.Fail(t.life, err.Error())
	}
	if err != nil {
		t.log.Error("cannot finish a task", "task", task.ID, "error", err)
	}
}

// run calls RunTask. A panic is an error.
func (t *tasks) run(ctx context.Context, task *Task) (err error) {
	defer func() {
		if v := recover(); v != nil {
			t.log.Error("the plugin panicked", "task", task.ID, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			err = fmt.Errorf("the plugin panicked: %v", v)
		}
	}()
	return t.runner.RunTask(ctx, task)
}

// expect notes that the values of a step are waited for. given gets them; the caller must call
// done when it does not wait any more.
func (t *tasks) expect(id string, s Step) (given <-chan json.RawMessage, done func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	w := t.workOn(id)
	e := w.steps[s.ID]
	if e == nil {
		e = &expectation{given: make(chan json.RawMessage, 1)}
		w.steps[s.ID] = e
	}
	e.check = s.Check
	return e.given, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(w.steps, s.ID)
	}
}

// Submit gives the values of a step to Ask, if its check takes them. A step for which Ask does not
// wait yet, or any more, is to be given again.
func (t *tasks) Submit(_ context.Context, r *taskspb.WorkerSubmitRequest) (*taskspb.WorkerSubmitResponse, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var e *expectation
	if w := t.working[r.GetTask()]; w != nil {
		e = w.steps[r.GetStep().GetId()]
	}
	if e == nil {
		return nil, status.Error(codes.Unavailable, "the plugin does not wait for the step now")
	}
	values := json.RawMessage(r.GetStep().GetValues())
	if e.check != nil {
		if err := e.check(values); err != nil {
			return nil, shellpb.ErrorWithDetail(codes.InvalidArgument, err.Error(), &shellpb.Error{Code: InvalidParameter})
		}
	}
	select {
	case e.given <- values:
	default: // they were given before
	}
	return &taskspb.WorkerSubmitResponse{}, nil
}

// Cancel ends the context of a task.
func (t *tasks) Cancel(_ context.Context, r *taskspb.WorkerCancelRequest) (*taskspb.WorkerCancelResponse, error) {
	t.mu.Lock()
	w := t.working[r.GetTask()]
	t.mu.Unlock()
	if w != nil && w.cancel == nil {
		return nil, status.Error(codes.Unimplemented, "the plugin has no way to cancel it")
	}
	t.cancel(r.GetTask())
	return &taskspb.WorkerCancelResponse{}, nil
}
