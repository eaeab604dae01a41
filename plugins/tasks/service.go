package tasks

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"dormouse/plugins/access"
	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell"
)

// service is the gRPC service dormouse.tasks.v1.Tasks.
type service struct {
	taskspb.UnimplementedTasksServer
	tasks *Tasks
	// check returns nil if the plugin of that callsign has the role for the target.
	check func(callsign string, needed access.Role, about access.Target) error
}

// Service returns the gRPC service. What a plugin may do with the tasks of others check decides:
// nil if the plugin of that callsign has the role for the target.
func (t *Tasks) Service(check func(callsign string, needed access.Role, about access.Target) error) taskspb.TasksServer {
	return service{tasks: t, check: check}
}

// likeMethod is the method of JSON-RPC that does the same as one of gRPC, by its full name. The methods
// that are not in it are for the plugins of tasks alone.
var likeMethod = map[string]string{
	taskspb.Tasks_Start_FullMethodName:     "start",
	taskspb.Tasks_Get_FullMethodName:       "get",
	taskspb.Tasks_List_FullMethodName:      "list",
	taskspb.Tasks_Submit_FullMethodName:    "submit",
	taskspb.Tasks_Cancel_FullMethodName:    "cancel",
	taskspb.Tasks_GetOutput_FullMethodName: "get",
	taskspb.Tasks_Watch_FullMethodName:     "list",

	taskspb.Tasks_Subscribe_FullMethodName:         "subscribe",
	taskspb.Tasks_Unsubscribe_FullMethodName:       "unsubscribe",
	taskspb.Tasks_ListSubscriptions_FullMethodName: "subscriptions",
}

// ServiceAccess returns the role that a client needs for a call of the gRPC service, access.None
// for what plugins alone may do, and what the call is about.
func ServiceAccess(_ context.Context, fullMethod string, _ any) (access.Role, access.Target) {
	like, ok := likeMethod[fullMethod]
	if !ok {
		return access.None, access.Target{Callsign: Callsign, Method: fullMethod}
	}
	return methods[like].access, access.Target{Callsign: Callsign, Method: like}
}

// checkPlugin returns an error if the call is a plugin's that has no right to it. Clients were
// checked before.
func (s service) checkPlugin(ctx context.Context, fullMethod string) (caller string, err error) {
	caller = shell.CallerOf(ctx)
	if caller == "" || s.check == nil {
		return caller, nil
	}
	needed, about := ServiceAccess(ctx, fullMethod, nil)
	if err := s.check(caller, needed, about); err != nil {
		return caller, fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	return caller, nil
}

// ownerOf returns the plugin that calls. The error wraps ErrForbidden for a client.
func ownerOf(ctx context.Context) (string, error) {
	if caller := shell.CallerOf(ctx); caller != "" {
		return caller, nil
	}
	return "", fmt.Errorf("%w: only the plugin of a task changes it, on its host socket", ErrForbidden)
}

// Create makes a task of the calling plugin.
func (s service) Create(ctx context.Context, r *taskspb.CreateRequest) (*taskspb.Task, error) {
	caller, err := ownerOf(ctx)
	if err != nil {
		return nil, asStatus(err)
	}
	task, err := s.tasks.create(ctx, caller, r)
	return task, asStatus(err)
}

// Update changes a task of the calling plugin.
func (s service) Update(ctx context.Context, r *taskspb.UpdateRequest) (*taskspb.UpdateResponse, error) {
	caller, err := ownerOf(ctx)
	if err != nil {
		return nil, asStatus(err)
	}
	if r.GetAddStep().GetOf() != nil {
		return nil, asStatus(fmt.Errorf("%w: only the host says which step is mirrored", ErrInvalid))
	}
	answer, err := s.tasks.update(ctx, caller, r)
	return answer, asStatus(err)
}

// Finish ends a task of the calling plugin.
func (s service) Finish(ctx context.Context, r *taskspb.FinishRequest) (*taskspb.Task, error) {
	caller, err := ownerOf(ctx)
	if err != nil {
		return nil, asStatus(err)
	}
	task, err := s.tasks.finish(ctx, caller, r)
	return task, asStatus(err)
}

// PutOutput stores a file of a task of the calling plugin.
func (s service) PutOutput(stream grpc.ClientStreamingServer[taskspb.PutOutputRequest, taskspb.Output]) error {
	caller, err := ownerOf(stream.Context())
	if err != nil {
		return asStatus(err)
	}
	o, err := s.receiveOutput(stream, caller)
	if err != nil {
		return asStatus(err)
	}
	return stream.SendAndClose(o)
}

// receiveOutput stores what the stream brings, if it comes to its end.
func (s service) receiveOutput(stream grpc.ClientStreamingServer[taskspb.PutOutputRequest, taskspb.Output], caller string) (*taskspb.Output, error) {
	ctx := stream.Context()
	first, err := stream.Recv()
	if err != nil {
		return nil, fmt.Errorf("%w: an output begins with its name", ErrInvalid)
	}
	about := &taskspb.Output{Name: first.GetName(), ContentType: first.GetContentType(), DataType: first.GetDataType()}
	w, err := s.tasks.putOutput(ctx, caller, first.GetTask(), about)
	if err != nil {
		return nil, err
	}
	for part := first; ; {
		if _, err := w.Write(part.GetContent()); err != nil {
			w.giveUp()
			return nil, err
		}
		part, err = stream.Recv()
		if errors.Is(err, io.EOF) {
			return w.finish(ctx)
		}
		if err != nil { // it was cut off
			w.giveUp()
			return nil, err
		}
	}
}

// Start makes a task of an instance.
func (s service) Start(ctx context.Context, r *taskspb.StartRequest) (*taskspb.Task, error) {
	if _, err := s.checkPlugin(ctx, taskspb.Tasks_Start_FullMethodName); err != nil {
		return nil, asStatus(err)
	}
	task, err := s.tasks.Start(ctx, r.GetCallsign(), r.GetTitle(), r.GetParameters())
	return task, asStatus(err)
}

// Get returns a task, with wait once it has changed.
func (s service) Get(ctx context.Context, r *taskspb.GetRequest) (*taskspb.Task, error) {
	caller, err := s.checkPlugin(ctx, taskspb.Tasks_Get_FullMethodName)
	if err != nil {
		return nil, asStatus(err)
	}
	task, err := s.tasks.wait(ctx, r.GetTask(), caller, r.GetRevision(), r.GetWait().AsDuration())
	return task, asStatus(err)
}

// List returns a page of tasks.
func (s service) List(ctx context.Context, r *taskspb.ListRequest) (*taskspb.ListResponse, error) {
	if _, err := s.checkPlugin(ctx, taskspb.Tasks_List_FullMethodName); err != nil {
		return nil, asStatus(err)
	}
	answer, err := s.tasks.List(ctx, r)
	return answer, asStatus(err)
}

// Submit gives the values for a step.
func (s service) Submit(ctx context.Context, r *taskspb.SubmitRequest) (*taskspb.Task, error) {
	if _, err := s.checkPlugin(ctx, taskspb.Tasks_Submit_FullMethodName); err != nil {
		return nil, asStatus(err)
	}
	task, err := s.tasks.Submit(ctx, r.GetTask(), r.GetStep(), r.GetValues())
	return task, asStatus(err)
}

// Cancel asks for the end of a task. A plugin needs no right to cancel its own.
func (s service) Cancel(ctx context.Context, r *taskspb.CancelRequest) (*taskspb.Task, error) {
	if _, err := s.checkPlugin(ctx, taskspb.Tasks_Cancel_FullMethodName); err != nil && !s.isOwn(ctx, r.GetTask()) {
		return nil, asStatus(err)
	}
	task, err := s.tasks.Cancel(ctx, r.GetTask())
	return task, asStatus(err)
}

// isOwn reports whether the task is one of the calling plugin.
func (s service) isOwn(ctx context.Context, id string) bool {
	task, err := s.tasks.Get(ctx, id)
	return err == nil && task.GetCallsign() == shell.CallerOf(ctx)
}

// GetOutput sends an output.
func (s service) GetOutput(r *taskspb.GetOutputRequest, stream grpc.ServerStreamingServer[taskspb.OutputPart]) error {
	caller, err := s.checkPlugin(stream.Context(), taskspb.Tasks_GetOutput_FullMethodName)
	if err != nil {
		return asStatus(err)
	}
	return asStatus(s.tasks.sendOutput(stream.Context(), r, caller, stream.Send))
}

// Watch sends the changes of tasks. The watch of one task begins with its present state, and ends
// with the task.
func (s service) Watch(r *taskspb.WatchRequest, stream grpc.ServerStreamingServer[taskspb.Change]) error {
	ctx := stream.Context()
	if _, err := s.checkPlugin(ctx, taskspb.Tasks_Watch_FullMethodName); err != nil {
		return asStatus(err)
	}
	f := s.tasks.feeds.open(func(c Change) bool {
		if r.GetTask() != "" {
			return c.Task == r.GetTask()
		}
		return r.GetCallsign() == "" || c.Callsign == r.GetCallsign()
	})
	defer f.close()
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	if r.GetTask() != "" {
		task, err := s.tasks.Get(ctx, r.GetTask())
		if err != nil {
			return asStatus(err)
		}
		f.add(changeOf(task, StatusEvent|StepsEvent|DetailsEvent))
	}
	for {
		c, err := f.next(ctx)
		if err != nil {
			return asStatus(err)
		}
		err = stream.Send(&taskspb.Change{Task: c.Task, Callsign: c.Callsign, Status: c.Status, Revision: c.Revision, Events: c.Events.Names()})
		if err != nil || r.GetTask() != "" && c.Status != taskspb.Status_STATUS_PENDING {
			return err
		}
	}
}
