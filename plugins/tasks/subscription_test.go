package tasks

import (
	"encoding/json"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/internal/store"
	"dormouse/plugins/access"
	"dormouse/plugins/tasks/taskspb"
	"dormouse/shell"
)

// remembered are subscriptions in memory.
type remembered struct {
	noSubscriptions
	all []Subscription
}

// Check refuses what is empty.
func (m *remembered) Check(s Subscription) error {
	if s.URL == "" {
		return ErrInvalid
	}
	return nil
}

func (m *remembered) Subscribe(_ *store.Tx, _ string, s Subscription) error {
	m.all = append(m.all, s)
	return nil
}

func (m *remembered) Unsubscribe(_ *store.Tx, _, url string, events Events, all bool) error {
	var left []Subscription
	for _, s := range m.all {
		if s.URL != url || !all && s.Event != events {
			left = append(left, s)
		}
	}
	m.all = left
	return nil
}

func (m *remembered) Of(*store.Tx, string) ([]Subscription, error) { return m.all, nil }

// Clients subscribe and unsubscribe over JSON-RPC and gRPC alike.
func TestSubscriptionCalls(t *testing.T) {
	r := newRig(t, setup{})
	m := &remembered{}
	r.Subscriptions = m
	id := r.makeTask(nil).GetId()
	call := func(method, params string) string {
		result, err := r.shell(Callsign).Invoke(t.Context(), shell.Call{Method: method, Params: json.RawMessage(fmt.Sprintf(params, id))})
		if err != nil {
			return err.Error()
		}
		return string(result)
	}
	for _, test := range []struct{ method, params, want string }{
		{"subscribe", `{"task":%q,"url":"http://a","event":"steps","source":"http://s","secret":"x"}`, `null`},
		{"subscribe", `{"task":%q,"url":"http://a"}`, `null`},
		{"subscribe", `{"task":%q,"url":"http://a","event":"death"}`, `the request is not valid: there is no event "death"; there are status, steps and details (code 30)`},
		{"subscribe", `{"task":%q}`, `the request is not valid (code 30)`},
		{"subscribe", `{"task":"%.0sother","url":"http://a"}`, `there is no such task: "other" (code 22)`},
		{"subscriptions", `{"task":%q}`, `[{"url":"http://a","event":"steps","source":"http://s"},{"url":"http://a","event":"","source":""}]`},
		{"unsubscribe", `{"task":%q,"url":"http://a","event":""}`, `null`},
		{"subscriptions", `{"task":%q}`, `[{"url":"http://a","event":"steps","source":"http://s"}]`},
		{"unsubscribe", `{"task":%q,"url":"http://a"}`, `null`},
		{"subscriptions", `{"task":%q}`, `[]`},
	} {
		if got := call(test.method, test.params); got != test.want {
			t.Errorf("%s %s\ngot  %s\nwant %s", test.method, test.params, got, test.want)
		}
	}

	s, ctx := r.Service(nil), t.Context()
	_, err := s.Subscribe(ctx, &taskspb.SubscribeRequest{Task: id, Subscription: &taskspb.Subscription{Url: "http://b", Event: "status"}, Secret: "y"})
	r.must(err)
	if len(m.all) != 1 || m.all[0] != (Subscription{URL: "http://b", Event: StatusEvent, Secret: "y"}) {
		t.Errorf("got %+v", m.all)
	}
	list, err := s.ListSubscriptions(ctx, &taskspb.ListSubscriptionsRequest{Task: id})
	r.must(err)
	if len(list.GetSubscriptions()) != 1 || list.GetSubscriptions()[0].GetEvent() != "status" {
		t.Errorf("got %v", list)
	}
	all := ""
	_, err = s.Unsubscribe(ctx, &taskspb.UnsubscribeRequest{Task: id, Url: "http://b", Event: &all})
	r.must(err)
	if len(m.all) != 1 {
		t.Error("the subscription to one event is gone with the one to all")
	}
	_, err = s.Unsubscribe(ctx, &taskspb.UnsubscribeRequest{Task: id, Url: "http://b"})
	r.must(err)
	if len(m.all) != 0 {
		t.Errorf("got %+v", m.all)
	}
	if _, err = s.Subscribe(ctx, &taskspb.SubscribeRequest{Task: id}); status.Code(err) != codes.InvalidArgument {
		t.Errorf("got %v", err)
	}
	if _, err = s.Unsubscribe(ctx, &taskspb.UnsubscribeRequest{Task: "other"}); status.Code(err) != codes.NotFound {
		t.Errorf("got %v", err)
	}
	for method, want := range map[string]access.Role{"subscribe": access.Call, "unsubscribe": access.Call, "subscriptions": access.Operate} {
		if got, _ := NeededAccess(Callsign, shell.Call{Method: method}); got != want {
			t.Errorf("%s needs %v", method, got)
		}
	}
}

// A host without webhooks says so.
func TestNoSubscriptions(t *testing.T) {
	r := newRig(t, setup{})
	id := r.makeTask(nil).GetId()
	r.refused(r.Subscribe(t.Context(), id, Subscription{URL: "http://a"}), ErrInvalid)
	r.must(r.Unsubscribe(t.Context(), id, "http://a", 0, true))
	_, err := r.Start(t.Context(), "A", "", nil, Subscription{URL: "http://a"})
	r.refused(err, ErrInvalid)
}
