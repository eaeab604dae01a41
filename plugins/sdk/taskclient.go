package sdk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"

	"dormouse/plugins/tasks/taskspb"
)

// StartTask has another instance run a task with parameters that are encoded as a JSON object, and
// returns it as soon as it is on the host's disk. It may be the plugin's own instance.
func (h *Host) StartTask(ctx context.Context, callsign, title string, parameters any) (*taskspb.Task, error) {
	raw, err := encodeJSON(parameters)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the parameters of the task: %w", err)
	}
	task, err := h.taskClient().Start(ctx, &taskspb.StartRequest{Callsign: callsign, Title: title, Parameters: raw})
	return task, errorFromHost(ctx, "start a task of "+callsign, err)
}

// GetTask returns any task as it is now.
func (h *Host) GetTask(ctx context.Context, id string) (*taskspb.Task, error) {
	task, err := h.taskClient().Get(ctx, &taskspb.GetRequest{Task: id})
	return task, errorFromHost(ctx, "get the task", err)
}

// longestWait is how long one call of WaitTask waits; more calls follow.
const longestWait = time.Minute

// WaitTask returns a task once it is newer than the revision or has ended. It also waits while the
// plugin sleeps.
func (h *Host) WaitTask(ctx context.Context, id string, revision uint64) (*taskspb.Task, error) {
	for {
		task, err := h.taskClient().Get(ctx, &taskspb.GetRequest{Task: id, Revision: revision, Wait: durationpb.New(longestWait)})
		switch {
		case errors.Is(err, ErrSlept):
		case err != nil:
			return nil, errorFromHost(ctx, "wait for the task", err)
		case task.GetRevision() > revision || task.GetStatus() != taskspb.Status_STATUS_PENDING:
			return task, nil
		}
	}
}

// Tasks goes through the tasks of an instance, newest first; with an empty callsign through all.
// They lack parameters, log, steps and outputs. An error ends it.
func (h *Host) Tasks(ctx context.Context, callsign string) iter.Seq2[*taskspb.Task, error] {
	return func(yield func(*taskspb.Task, error) bool) {
		for page := ""; ; {
			answer, err := h.taskClient().List(ctx, &taskspb.ListRequest{Callsign: callsign, Page: page})
			if err != nil {
				yield(nil, errorFromHost(ctx, "list tasks", err))
				return
			}
			for _, task := range answer.GetTasks() {
				if !yield(task, nil) {
					return
				}
			}
			if page = answer.GetNext(); page == "" {
				return
			}
		}
	}
}

// SubmitStep gives the values, encoded as a JSON object, for the open step of any task.
func (h *Host) SubmitStep(ctx context.Context, task, step string, values any) (*taskspb.Task, error) {
	raw, err := encodeJSON(values)
	if err != nil {
		return nil, fmt.Errorf("cannot encode the values of the step: %w", err)
	}
	is, err := h.taskClient().Submit(ctx, &taskspb.SubmitRequest{Task: task, Step: step, Values: raw})
	return is, errorFromHost(ctx, "submit the step "+step, err)
}

// CancelTask asks for the end of a task. That of another instance needs the role operate.
func (h *Host) CancelTask(ctx context.Context, id string) (*taskspb.Task, error) {
	task, err := h.taskClient().Cancel(ctx, &taskspb.CancelRequest{Task: id})
	return task, errorFromHost(ctx, "cancel the task", err)
}

// CopyOutput writes a file that a task has left to w, by its key, and returns what it is.
func (h *Host) CopyOutput(ctx context.Context, task, key string, w io.Writer) (*taskspb.Output, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var about *taskspb.Output
	stream, err := h.taskClient().GetOutput(ctx, &taskspb.GetOutputRequest{Task: task, Output: key})
	for err == nil {
		var part *taskspb.OutputPart
		if part, err = stream.Recv(); err != nil {
			break
		}
		if part.GetOutput() != nil {
			about = part.GetOutput()
		}
		if _, err := w.Write(part.GetContent()); err != nil {
			return nil, fmt.Errorf("cannot write the output: %w", err)
		}
	}
	if errors.Is(err, io.EOF) {
		return about, nil
	}
	return nil, errorFromHost(ctx, "get the output", err)
}

// WatchTasks returns a loop over the changes of the tasks of an instance, or with an empty callsign
// of all. The loop ends, without an error, when it is left or ctx ends. It goes on after a sleep and
// when the host was restarted; what has happened meanwhile is left out. Any other error is the last
// element of the loop.
func (h *Host) WatchTasks(ctx context.Context, callsign string) iter.Seq2[*taskspb.Change, error] {
	open := func(ctx context.Context, opts ...grpc.CallOption) (grpc.ServerStreamingClient[taskspb.Change], error) {
		return h.taskClient().Watch(ctx, &taskspb.WatchRequest{Callsign: callsign}, opts...)
	}
	return func(yield func(*taskspb.Change, error) bool) {
		err := followStreamReopening(ctx, open, func(c *taskspb.Change) bool { return yield(c, nil) })
		if err != nil {
			yield(nil, errorFromHost(ctx, "watch tasks", err))
		}
	}
}
