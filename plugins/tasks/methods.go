package tasks

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"dormouse/internal/jsonrpc"
	"dormouse/plugins/access"
	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell"
)

// method is one method of Tasks.
type method struct {
	access access.Role
	serve  func(ctx context.Context, t *Tasks, params json.RawMessage) (any, error)
}

// methods are the methods by name.
var methods = map[string]method{
	"list":   {access.Read, serveList},
	"get":    {access.Read, serveGet},
	"start":  {access.Call, serveStart},
	"submit": {access.Call, serveSubmit},
	"cancel": {access.Operate, serveCancel},

	"subscribe":     {access.Call, serveSubscribe},
	"unsubscribe":   {access.Call, serveUnsubscribe},
	"subscriptions": {access.Operate, serveSubscriptions}, // a URL may hold secrets
}

// NeededAccess returns the role that a caller needs for a call of Tasks, and what the call is
// about. A method that Tasks does not have needs access.Read, and then fails.
func NeededAccess(callsign string, c shell.Call) (access.Role, access.Target) {
	about := access.Target{Callsign: callsign, Method: c.Method}
	m, ok := methods[c.Method]
	if !ok {
		return access.Read, about
	}
	return m.access, about
}

// readParams decodes the parameters of a call into to. A member that to does not have is an
// ErrInvalid.
func readParams(params json.RawMessage, to any) error {
	if err := jsonrpc.DecodeParams(params, to); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// statusWords are the statuses as clients of JSON-RPC read them.
var statusWords = map[taskspb.Status]string{
	taskspb.Status_STATUS_PENDING: "PENDING",
	taskspb.Status_STATUS_SUCCESS: "SUCCESS",
	taskspb.Status_STATUS_FAILURE: "FAILURE",
}

// statusWord returns the status in words.
func statusWord(s taskspb.Status) string { return statusWords[s] }

// page is the answer to list.
type page struct {
	Tasks []taskRecord `json:"tasks"`
	Next  string       `json:"next,omitempty"`
}

// serveList returns a page of tasks.
func serveList(ctx context.Context, t *Tasks, params json.RawMessage) (any, error) {
	var p struct {
		Callsign string `json:"callsign"`
		Status   string `json:"status"`
		Limit    uint32 `json:"limit"`
		Page     string `json:"page"`
	}
	if err := readParams(params, &p); err != nil {
		return nil, err
	}
	r := &taskspb.ListRequest{Callsign: p.Callsign, Limit: p.Limit, Page: p.Page}
	for status, word := range statusWords {
		if strings.EqualFold(p.Status, word) {
			r.Status = &status
		}
	}
	if p.Status != "" && r.Status == nil {
		return nil, fmt.Errorf("%w: status must be PENDING, SUCCESS or FAILURE", ErrInvalid)
	}
	answer, err := t.List(ctx, r)
	if err != nil {
		return nil, err
	}
	all := page{Tasks: []taskRecord{}, Next: answer.GetNext()}
	for _, task := range answer.GetTasks() {
		all.Tasks = append(all.Tasks, recordOf(task))
	}
	return all, nil
}

// serveGet returns one task, with wait once it has changed.
func serveGet(ctx context.Context, t *Tasks, params json.RawMessage) (any, error) {
	var p struct {
		Task     string  `json:"task"`
		Revision uint64  `json:"revision"`
		Wait     float64 `json:"wait"` // in seconds
	}
	if err := readParams(params, &p); err != nil {
		return nil, err
	}
	if p.Wait < 0 {
		return nil, fmt.Errorf("%w: wait must not be less than zero", ErrInvalid)
	}
	task, err := t.Wait(ctx, p.Task, p.Revision, time.Duration(min(p.Wait, maxWait.Seconds())*float64(time.Second)))
	return answered(task, err)
}

// answered returns the task as clients see it.
func answered(task *taskspb.Task, err error) (any, error) {
	if err != nil {
		return nil, err
	}
	return recordOf(task), nil
}

// serveStart starts a task of an instance.
func serveStart(ctx context.Context, t *Tasks, params json.RawMessage) (any, error) {
	var p struct {
		Callsign   string          `json:"callsign"`
		Title      string          `json:"title"`
		Parameters json.RawMessage `json:"parameters"`
	}
	if err := readParams(params, &p); err != nil {
		return nil, err
	}
	if string(p.Parameters) == "null" {
		p.Parameters = nil
	}
	task, err := t.Start(ctx, p.Callsign, p.Title, p.Parameters)
	return answered(task, err)
}

// serveSubmit gives the values for a step.
func serveSubmit(ctx context.Context, t *Tasks, params json.RawMessage) (any, error) {
	var p struct {
		Task   string          `json:"task"`
		Step   string          `json:"step"`
		Values json.RawMessage `json:"values"`
	}
	if err := readParams(params, &p); err != nil {
		return nil, err
	}
	if string(p.Values) == "null" {
		p.Values = nil
	}
	task, err := t.Submit(ctx, p.Task, p.Step, p.Values)
	return answered(task, err)
}

// serveCancel asks for the end of a task.
func serveCancel(ctx context.Context, t *Tasks, params json.RawMessage) (any, error) {
	var p struct {
		Task string `json:"task"`
	}
	if err := readParams(params, &p); err != nil {
		return nil, err
	}
	task, err := t.Cancel(ctx, p.Task)
	return answered(task, err)
}
