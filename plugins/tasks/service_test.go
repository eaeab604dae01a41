package tasks

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/internal/store"
	"dormouse/plugins/access"
	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell"
)

// countRows counts the rows of a table.
func (r *rig) countRows(table string, n *int) error {
	return r.store.View(r.Context(), func(tx *store.Tx) error { return tx.QueryRow("SELECT count(*) FROM " + table).Scan(n) })
}

// A plugin changes its own tasks alone; what it may do with those of others the rules say.
func TestServiceRights(t *testing.T) {
	r := newRig(t, setup{})
	var asked []string
	s := r.Service(func(callsign string, needed access.Role, about access.Target) error {
		asked = append(asked, callsign+" "+about.Method)
		if needed >= access.Operate {
			return errors.New("no")
		}
		return nil
	})
	asA, asB := shell.WithCaller(t.Context(), "A"), shell.WithCaller(t.Context(), "B")
	task, err := s.Create(asA, &taskspb.CreateRequest{Data: []byte("1")})
	r.must(err)
	code := func(want codes.Code, err error) {
		t.Helper()
		if status.Code(err) != want {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	id := task.GetId()
	_, err = s.Update(asB, &taskspb.UpdateRequest{Task: id})
	code(codes.NotFound, err)
	_, err = s.Create(t.Context(), &taskspb.CreateRequest{})
	code(codes.PermissionDenied, err)
	_, err = s.Finish(t.Context(), &taskspb.FinishRequest{Task: id, Status: success})
	code(codes.PermissionDenied, err)
	_, err = s.Cancel(asB, &taskspb.CancelRequest{Task: id})
	code(codes.PermissionDenied, err)
	own, err := s.Get(asA, &taskspb.GetRequest{Task: id})
	r.must(err)
	others, err := s.Get(asB, &taskspb.GetRequest{Task: id})
	r.must(err)
	if string(own.GetData()) != "1" || others.GetData() != nil {
		t.Errorf("the data is %q to the owner, %q to others", own.GetData(), others.GetData())
	}
	_, err = s.Cancel(asA, &taskspb.CancelRequest{Task: id})
	r.must(err)
	if len(asked) != 4 {
		t.Errorf("asked %v", asked)
	}
}

// Each method needs its role, and those for owners are for no client.
func TestNeededAccess(t *testing.T) {
	for method, want := range map[string]access.Role{
		taskspb.Tasks_Create_FullMethodName: access.None, taskspb.Tasks_Update_FullMethodName: access.None,
		taskspb.Tasks_Finish_FullMethodName: access.None, taskspb.Tasks_PutOutput_FullMethodName: access.None,
		taskspb.Tasks_Get_FullMethodName: access.Read, taskspb.Tasks_List_FullMethodName: access.Read,
		taskspb.Tasks_Watch_FullMethodName: access.Read, taskspb.Tasks_GetOutput_FullMethodName: access.Read,
		taskspb.Tasks_Start_FullMethodName: access.Call, taskspb.Tasks_Submit_FullMethodName: access.Call,
		taskspb.Tasks_Cancel_FullMethodName: access.Operate,
	} {
		if got, _ := ServiceAccess(t.Context(), method, nil); got != want {
			t.Errorf("%s needs %v, want %v", method, got, want)
		}
	}
	for method, want := range map[string]access.Role{"list": access.Read, "get": access.Read, "start": access.Call, "submit": access.Call, "cancel": access.Operate} {
		if got, about := NeededAccess(Callsign, shell.Call{Method: method}); got != want || about.Callsign != Callsign {
			t.Errorf("%s needs %v of %v, want %v", method, got, about, want)
		}
	}
}

// Wrong parameters of a method are refused with what is wrong.
func TestMethodsRefuse(t *testing.T) {
	r := newRig(t, setup{})
	for call, want := range map[string]string{
		`list {"status":"DONE"}`: "status must be PENDING, SUCCESS or FAILURE",
		`list {"page":"x"}`:      `there is no page "x"`,
		`get {"task":1}`:         `"task" must be a string, not a number`,
		`get {"tsk":"1"}`:        `"tsk" is not known here`,
		`get {"wait":-1}`:        "wait must not be less than zero",
		`start [`:                "the JSON ends too early",
		`cancel {"task":"none"}`: `there is no such task: "none"`,

		`start {"callsign":"Absent"}`: `there is no such instance: "Absent"`,
	} {
		method, params, _ := strings.Cut(call, " ")
		_, err := backend{r.Tasks}.Invoke(t.Context(), shell.Call{Method: method, Params: json.RawMessage(params)})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", call, err, want)
		}
	}
}

// Watch of one task begins with its state and ends with it; a change of another is not told.
func TestFeedJoinsChanges(t *testing.T) {
	var all feeds
	f := all.open(func(c Change) bool { return c.Task != "other" })
	defer f.close()
	all.tell(Change{Task: "other", Events: StatusEvent})
	all.tell(Change{Task: "t", Revision: 3, Events: DetailsEvent})
	all.tell(Change{Task: "t", Revision: 2, Events: StepsEvent})
	c, err := f.next(t.Context())
	if err != nil || c.Revision != 3 || c.Events != DetailsEvent|StepsEvent {
		t.Errorf("got %+v, %v", c, err)
	}
	all.tell(Change{Task: "t", Revision: 4, Events: DetailsEvent})
	ctx, cancel := context.WithTimeout(t.Context(), detailsEvery/5)
	defer cancel()
	if c, err := f.next(ctx); err == nil {
		t.Errorf("details come again at once: %+v", c)
	}
	all.tell(Change{Task: "t", Revision: 5, Status: success, Events: StatusEvent})
	if c, err := f.next(t.Context()); err != nil || c.Revision != 5 || c.Events != DetailsEvent|StatusEvent {
		t.Errorf("got %+v, %v", c, err)
	}
}
