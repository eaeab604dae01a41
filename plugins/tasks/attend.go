package tasks

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/internal/failpoint"
	"dormouse/internal/store"
	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell"
)

// attend looks after the tasks of an instance in the background: it ends those whose plugin has
// ended, and has the plugin run, go on with, take values for, and end the others. One goroutine
// at a time does that for an instance.
func (t *Tasks) attend(callsign string) {
	if !t.owners.beginAttending(callsign) {
		return
	}
	if !t.start(func(ctx context.Context) { t.attendUntilDone(ctx, callsign) }) {
		t.owners.endAttending(callsign, true)
	}
}

// beginAttending reports whether the caller is to look after the tasks of an instance. If another
// goroutine does, that one looks once more.
func (o *owners) beginAttending(callsign string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.all[callsign]
	if w == nil {
		return false
	}
	if w.attended {
		w.again = true
		return false
	}
	w.attended, w.again = true, false
	return true
}

// endAttending reports whether the caller has done, because nothing has come meanwhile, or because
// it must stop.
func (o *owners) endAttending(callsign string, mustStop bool) (done bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.ownerLocked(callsign)
	if w.again && !mustStop {
		w.again = false
		return false
	}
	w.attended = false
	o.forgetLocked(callsign)
	return true
}

// attendUntilDone looks after the tasks of an instance until nothing is left to do.
func (t *Tasks) attendUntilDone(ctx context.Context, callsign string) {
	for {
		if err := t.attendOnce(ctx, callsign); err != nil && ctx.Err() == nil {
			t.Log.Debug().Err(err).Str("callsign", callsign).Msg("tasks wait for their plugin")
			t.retryLater(callsign)
		}
		if t.owners.endAttending(callsign, ctx.Err() != nil) {
			return
		}
	}
}

// attendOnce does what is to be done now. The error says why something is left.
func (t *Tasks) attendOnce(ctx context.Context, callsign string) error {
	end, life, found := t.owners.takeEnd(callsign)
	for ; found; end, life, found = t.owners.takeEnd(callsign) {
		if err := t.endTasksOf(context.WithoutCancel(ctx), callsign, end); err != nil {
			t.owners.putEndBack(callsign, end)
			return err
		}
	}
	due, err := t.due(ctx, callsign, life)
	if err != nil || len(due) == 0 {
		return err
	}
	worker, err := t.workerOf(ctx, callsign)
	if err != nil || worker == nil {
		return err
	}
	var errs []error
	for _, d := range due {
		if ctx.Err() == nil {
			errs = append(errs, t.ask(ctx, worker, d))
		}
	}
	return errors.Join(errs...)
}

// due is what a plugin is to be asked about one of its tasks.
type due struct {
	task   *taskspb.Task // without its parts
	life   uint64        // of the plugin, that it is due in
	run    bool
	cancel bool
	submit *taskspb.Step
}

// due returns what the plugin of an instance is to be asked in that life.
func (t *Tasks) due(ctx context.Context, callsign string, life uint64) (all []due, err error) {
	err = t.Store.View(ctx, func(tx *store.Tx) error {
		rows, err := pendingOf(tx, callsign)
		for _, r := range rows {
			if err != nil {
				break
			}
			d := due{task: r.task, life: life, run: r.life != life || r.task.GetStarted() == nil}
			d.cancel = r.task.GetCancelled() && !d.run && !t.owners.wasTold(r.task.GetId())
			if d.submit, err = submittedStep(tx, r.n); err == nil && (d.run || d.cancel || d.submit != nil) {
				all = append(all, d)
			}
		}
		return err
	})
	return all, err
}

// workerOf returns the service of the plugin that runs tasks; a plugin that sleeps is woken. It
// returns nil if the plugin takes no calls now, and will be asked when it does.
func (t *Tasks) workerOf(ctx context.Context, callsign string) (taskspb.WorkerClient, error) {
	sh, process := t.shellOf(callsign), t.processOf(callsign)
	if sh == nil || process == nil || process.IsBuiltIn() {
		return nil, nil
	}
	if process.State().IsInSleepCycle() {
		if err := process.Activate(ctx, shell.Automatic); err != nil {
			return nil, fmt.Errorf("cannot wake the plugin: %w", err)
		}
	}
	if !process.State().TakesCalls() || !sh.DeliversCalls() {
		return nil, nil
	}
	return taskspb.NewWorkerClient(sh.Conn()), nil
}

// ask asks the plugin what is due. The error says why it is to be asked again.
func (t *Tasks) ask(ctx context.Context, worker taskspb.WorkerClient, d due) error {
	if d.run && d.task.GetCancelled() {
		return t.endPending(ctx, d.task.GetId(), failed(cancelledReason))
	}
	if d.run {
		if err := t.askToRun(ctx, worker, d.task, d.life); err != nil {
			return err
		}
	}
	if isOver := !t.owners.use(d.task.GetCallsign(), d.life); isOver {
		return nil
	}
	if d.cancel {
		if err := t.askToCancel(ctx, worker, d.task); err != nil {
			return err
		}
	}
	if d.submit != nil {
		return t.askToSubmit(ctx, worker, d.task, d.submit)
	}
	return nil
}

// errLifeOver means that the life in which a plugin was to be asked is over. What its tasks lose by
// that is seen to before the next life is asked.
var errLifeOver = errors.New("the plugin has ended meanwhile")

// askToRun has the plugin begin with a task or go on with it. That this life was asked is on disk
// before. It does nothing if that life is over.
func (t *Tasks) askToRun(ctx context.Context, worker taskspb.WorkerClient, task *taskspb.Task, life uint64) error {
	err := t.change(ctx, func(tx *store.Tx) (changed, error) {
		if !t.owners.use(task.GetCallsign(), life) {
			return changed{}, errLifeOver
		}
		row, err := touch(tx, task.GetCallsign(), &taskspb.UpdateRequest{Task: task.GetId()}, nil, 0)
		if err == nil && row.life != life {
			_, err = tx.Exec("UPDATE tasks SET life = ?, lives = lives + 1 WHERE n = ?", int64(life), row.n)
			row.life = life
		}
		if err == nil {
			task, err = readWhole(tx, task.GetId(), true)
		}
		return row.changed(task.GetId(), task.GetCallsign(), 0), err
	})
	if errors.Is(err, errLifeOver) {
		return nil
	}
	if err != nil {
		return ignoreEnded(err)
	}
	failpoint.Hit("task.asked")
	answer, err := worker.Run(ctx, &taskspb.RunRequest{Task: task})
	if refused := refusalOf(err); refused != "" {
		return t.endPending(ctx, task.GetId(), failed(refused))
	}
	if err != nil {
		return err
	}
	failpoint.Hit("task.begun")
	return ignoreEnded(t.change(ctx, func(tx *store.Tx) (changed, error) {
		resumes := max(answer.GetResumes(), task.GetResumes())
		r := &taskspb.UpdateRequest{Task: task.GetId(), Resumes: &resumes, Quiet: answer.GetQuiet()}
		row, err := touch(tx, task.GetCallsign(), r, nil, 0)
		if err == nil {
			_, err = tx.Exec("UPDATE tasks SET started = ? WHERE n = ? AND started = 0", time.Now().UnixMilli(), row.n)
		}
		return row.changed(task.GetId(), task.GetCallsign(), DetailsEvent), err
	}))
}

// ignoreEnded returns err, or nil if it means that the task has ended meanwhile.
func ignoreEnded(err error) error {
	if errors.Is(err, ErrEnded) || errors.Is(err, ErrUnknown) {
		return nil
	}
	return err
}

// endPending ends a task, unless it has ended by itself.
func (t *Tasks) endPending(ctx context.Context, id string, e end) error {
	return ignoreEnded(t.change(context.WithoutCancel(ctx), func(tx *store.Tx) (changed, error) {
		r, err := find(tx, id)
		if err != nil {
			return changed{}, err
		}
		if !isPending(r.task) {
			return changed{}, ErrEnded
		}
		return t.endIn(tx, r, e)
	}))
}

// refusalOf returns what the plugin has answered if it refuses, empty if it does not, or has not
// answered at all.
func refusalOf(err error) string {
	answer, ok := err.(interface{ GRPCStatus() *status.Status })
	if !ok {
		return ""
	}
	switch s := answer.GRPCStatus(); s.Code() {
	case codes.OK, codes.Unavailable, codes.Canceled:
		return ""
	case codes.Unimplemented:
		return "the plugin does not run tasks"
	default:
		return "the plugin refuses it: " + s.Message()
	}
}
