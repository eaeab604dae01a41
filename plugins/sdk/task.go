package sdk

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell/shellpb"
)

// Task is one task that this plugin works on. What a method has changed is on the host's disk, and
// all that follow the task are told of it, when the method returns nil. The methods may be called
// from any goroutine. They wait while the plugin is about to sleep, and while the host is away, so
// that the plugin needs no code for either.
type Task struct {
	// ID can't be guessed. Callsign is the plugin's own instance or a virtual plugin of it.
	ID       string
	Callsign string
	// Title and Parameters are what the task was started with; Parameters is a JSON object or
	// empty.
	Title      string
	Parameters json.RawMessage
	// Resumed is how many earlier lives of the plugin have worked on the task, 0 for none. Data
	// then says how far they were.
	Resumed int

	host  *Host
	tasks *tasks
	data  json.RawMessage // as it was when this life began with the task
}

// NewTask says how a task is made that the plugin works on by itself. The zero value is enough.
type NewTask struct {
	Title      string
	Parameters any // encoded as a JSON object, for all to see
	Data       any // encoded as JSON, for the plugin alone
	// Rules are how the host treats the task, those of Information.Tasks if they are zero.
	Rules TaskRules
}

// TaskRules are how the host treats tasks of the plugin.
type TaskRules struct {
	// Resumes is in how many further lives of the plugin RunTask is called again for a task that
	// has not ended. With 0 a task fails with its plugin.
	Resumes int
	// Quiet is for how long a task may do nothing before it is shown as stuck, 0 for ever.
	Quiet time.Duration
}

// CreateTask makes a task that the plugin works on from now on, with the methods of Task, until
// Succeed or Fail. RunTask is called for it only in a later life of the plugin. The task of a
// virtual plugin is made by Host.As.
func (h *Host) CreateTask(ctx context.Context, n NewTask) (*Task, error) {
	h.ownTasks().fillRules(&n.Rules)
	request := &taskspb.CreateRequest{Title: n.Title, Resumes: uint32(max(n.Rules.Resumes, 0)), Quiet: durationOrNone(n.Rules.Quiet)}
	var err error
	if request.Parameters, err = encodeJSON(n.Parameters); err == nil {
		request.Data, err = encodeJSON(n.Data)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot encode the task: %w", err)
	}
	made, err := h.taskClient().Create(ctx, request)
	if err != nil {
		return nil, errorFromHost(ctx, "create a task", err)
	}
	return h.ownTasks().add(made, h), nil
}

// durationOrNone returns d for a message, nil for 0.
func durationOrNone(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

// Log adds lines to the log. A line may be there twice if the plugin was put to sleep, or the host
// ended, meanwhile.
func (t *Task) Log(ctx context.Context, lines ...string) error {
	_, err := t.update(ctx, "write to the log of", &taskspb.UpdateRequest{Log: lines})
	return err
}

// Logf adds a line to the log.
func (t *Task) Logf(ctx context.Context, format string, args ...any) error {
	return t.Log(ctx, fmt.Sprintf(format, args...))
}

// Progress is how far a task is.
type Progress struct {
	Value, Start, Target float64
	Unit                 string // such as "%" or "steps"
}

// SetProgress says how far the task is.
func (t *Task) SetProgress(ctx context.Context, p Progress) error {
	progress := &taskspb.Progress{Value: p.Value, Start: p.Start, Target: p.Target, Unit: p.Unit}
	_, err := t.update(ctx, "set the progress of", &taskspb.UpdateRequest{Progress: progress})
	return err
}

// SetData keeps v, encoded as JSON of at most 64 KiB, for a later life of the plugin.
func (t *Task) SetData(ctx context.Context, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("cannot encode the data of the task: %w", err)
	}
	_, err = t.update(ctx, "keep the data of", &taskspb.UpdateRequest{Data: raw})
	return err
}

// Data decodes into v what an earlier life of the plugin has kept by SetData. It returns false and
// leaves v as it is if there is nothing.
func (t *Task) Data(v any) (found bool, err error) {
	if len(t.data) == 0 {
		return false, nil
	}
	if err := json.Unmarshal(t.data, v); err != nil {
		return false, fmt.Errorf("cannot read the data of the task: %w", err)
	}
	return true, nil
}

// SetLink gives the task an end point of its own, an absolute address or a path below the plugin's
// Web, in the place of one of the same type; an empty href removes it.
func (t *Task) SetLink(ctx context.Context, linkType, href string) error {
	_, err := t.update(ctx, "link", &taskspb.UpdateRequest{Links: []*taskspb.Link{{Type: linkType, Href: href}}})
	return err
}

// SetWaits says whether the plugin only waits for something from outside, and may sleep meanwhile.
// Without that a task keeps its plugin awake. Ask does so by itself.
func (t *Task) SetWaits(ctx context.Context, waits bool) error {
	_, err := t.update(ctx, "change", &taskspb.UpdateRequest{Waits: &waits})
	return err
}

// Alive shows a sign of life, so that the task is not shown as stuck.
func (t *Task) Alive(ctx context.Context) error {
	_, err := t.update(ctx, "change", &taskspb.UpdateRequest{})
	return err
}

// Output says what a file of a task is.
type Output struct {
	Name        string
	ContentType string // such as "application/json"
	DataType    string // such as "entity/list"
}

// PutOutput stores a file, which others see when the task has ended, in the place of one of the
// same name. If content can't be read to its end, nothing is stored. If content is an io.Seeker,
// PutOutput begins again after a sleep, and when the host was away; other content can be read only
// once, and PutOutput then fails.
func (t *Task) PutOutput(ctx context.Context, o Output, content io.Reader) error {
	action := "put the output " + o.Name
	seeker, canRepeat := content.(io.Seeker)
	var readError error
	send := func(ctx context.Context) error {
		if canRepeat {
			if _, readError = seeker.Seek(0, io.SeekStart); readError != nil {
				return readError
			}
		}
		var err error
		readError, err = t.sendOutput(ctx, o, content)
		return cmp.Or(readError, err)
	}
	var err error
	if canRepeat {
		err = t.retry(ctx, send)
	} else {
		err = send(ctx)
	}
	if readError != nil {
		return fmt.Errorf("cannot %s: %w", action, readError)
	}
	return errorFromHost(ctx, action, err)
}

// sendOutput sends a file to the host once. readError is that of content, err that of the host.
func (t *Task) sendOutput(ctx context.Context, o Output, content io.Reader) (readError, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // cuts off what is not whole
	stream, err := t.host.taskClient().PutOutput(ctx)
	if err != nil {
		return nil, err
	}
	part := &taskspb.PutOutputRequest{Task: t.ID, Name: o.Name, ContentType: o.ContentType, DataType: o.DataType}
	buffer := make([]byte, outputPart)
	for first := true; ; first = false {
		n, err := io.ReadFull(content, buffer)
		isEnd := errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
		if err != nil && !isEnd {
			return err, nil
		}
		if part.Content = buffer[:n]; n > 0 || first {
			if err := stream.Send(part); err != nil {
				break // the answer says why
			}
		}
		if isEnd {
			break
		}
		part = &taskspb.PutOutputRequest{}
	}
	_, err = stream.CloseAndRecv()
	return nil, err
}

// outputPart is how much of an output is sent at once.
const outputPart = 256 << 10

// Succeed ends the task with SUCCESS, and clears its last step. A task that RunTask works on ends
// when that returns.
func (t *Task) Succeed(ctx context.Context) error {
	return t.finish(ctx, &taskspb.FinishRequest{Status: taskspb.Status_STATUS_SUCCESS})
}

// Fail ends the task with FAILURE for that reason, which is also the last line of its log.
func (t *Task) Fail(ctx context.Context, reason string) error {
	return t.finish(ctx, &taskspb.FinishRequest{Status: taskspb.Status_STATUS_FAILURE, Reason: reason})
}

// finish ends the task.
func (t *Task) finish(ctx context.Context, r *taskspb.FinishRequest) error {
	r.Task = t.ID
	err := t.retry(ctx, func(ctx context.Context) error {
		_, err := t.host.taskClient().Finish(ctx, r)
		return err
	})
	if err == nil {
		t.tasks.remove(t.ID)
	}
	return errorFromHost(ctx, "finish the task", err)
}

// update changes the task, and tells it if it is to be cancelled.
func (t *Task) update(ctx context.Context, action string, r *taskspb.UpdateRequest) (answer *taskspb.UpdateResponse, err error) {
	r = proto.CloneOf(r)
	r.Task = t.ID
	err = t.retry(ctx, func(ctx context.Context) (err error) {
		answer, err = t.host.taskClient().Update(ctx, r)
		return err
	})
	if err == nil && answer.GetCancelled() {
		t.tasks.cancel(t.ID)
	}
	return answer, errorFromHost(ctx, action+" the task", err)
}

// firstPause and longestPause are those between two tries while the host is away.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = 2 * time.Second
)

// retry makes a call, again if a sleep has cut it off or the host is away.
func (t *Task) retry(ctx context.Context, call func(ctx context.Context) error) error {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		err := call(ctx)
		switch {
		case errors.Is(err, ErrSlept):
			continue
		case !isAway(err):
			return err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

// isAway reports whether the call did not reach the host, which may come back. A host that answers
// with an error says which number it has.
func isAway(err error) bool {
	return status.Code(err) == codes.Unavailable && shellpb.ErrorDetailOf(err) == nil && !errors.Is(err, errEnded) && !errors.Is(err, errNoHost)
}

// taskClient returns a client of the host's service of tasks.
func (h *Host) taskClient() taskspb.TasksClient { return taskspb.NewTasksClient(h.connOrFailing()) }

// ownTasks returns the tasks that the plugin works on. An author's test that made the Instance
// itself has none.
func (h *Host) ownTasks() *tasks {
	if h == nil || h.tasks == nil {
		return newTasks(nil, TaskRules{}, slog.Default())
	}
	return h.tasks
}
