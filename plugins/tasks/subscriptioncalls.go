package tasks

import (
	"context"
	"encoding/json"
	"fmt"

	"dormouse/plugins/tasks/taskspb"
)

// eventNamed returns the event of that name, or an ErrInvalid.
func eventNamed(name string) (Events, error) {
	event, known := EventsNamed(name)
	if !known {
		return 0, fmt.Errorf("%w: there is no event %.64q; there are status, steps and details", ErrInvalid, name)
	}
	return event, nil
}

// name returns the name of one event, "" for all.
func (e Events) name() string {
	for _, name := range e.Names() {
		return name
	}
	return ""
}

// serveSubscribe adds a subscription.
func serveSubscribe(ctx context.Context, t *Tasks, params json.RawMessage) (any, error) {
	var p struct {
		Task   string `json:"task"`
		URL    string `json:"url"`
		Event  string `json:"event"`
		Source string `json:"source"`
		Secret string `json:"secret"`
	}
	if err := readParams(params, &p); err != nil {
		return nil, err
	}
	event, err := eventNamed(p.Event)
	if err != nil {
		return nil, err
	}
	return nil, t.Subscribe(ctx, p.Task, Subscription{URL: p.URL, Event: event, Source: p.Source, Secret: p.Secret})
}

// serveUnsubscribe ends subscriptions.
func serveUnsubscribe(ctx context.Context, t *Tasks, params json.RawMessage) (any, error) {
	var p struct {
		Task  string  `json:"task"`
		URL   string  `json:"url"`
		Event *string `json:"event"`
	}
	if err := readParams(params, &p); err != nil {
		return nil, err
	}
	return nil, t.unsubscribe(ctx, p.Task, p.URL, p.Event)
}

// unsubscribe is Unsubscribe with the name of an event, nil for all subscriptions of the URL.
func (t *Tasks) unsubscribe(ctx context.Context, id, url string, name *string) error {
	if name == nil {
		return t.Unsubscribe(ctx, id, url, 0, true)
	}
	event, err := eventNamed(*name)
	if err != nil {
		return err
	}
	return t.Unsubscribe(ctx, id, url, event, false)
}

// subscriptionRecord is a subscription as clients of JSON-RPC see it.
type subscriptionRecord struct {
	URL    string `json:"url"`
	Event  string `json:"event"`
	Source string `json:"source"`
}

// serveSubscriptions lists the subscriptions to a task.
func serveSubscriptions(ctx context.Context, t *Tasks, params json.RawMessage) (any, error) {
	var p struct {
		Task string `json:"task"`
	}
	if err := readParams(params, &p); err != nil {
		return nil, err
	}
	found, err := t.SubscriptionsTo(ctx, p.Task)
	all := []subscriptionRecord{}
	for _, s := range found {
		all = append(all, subscriptionRecord{s.URL, s.Event.name(), s.Source})
	}
	return all, err
}

// Subscribe adds a subscription.
func (s service) Subscribe(ctx context.Context, r *taskspb.SubscribeRequest) (*taskspb.SubscribeResponse, error) {
	_, err := s.checkPlugin(ctx, taskspb.Tasks_Subscribe_FullMethodName)
	if err != nil {
		return nil, asStatus(err)
	}
	one := r.GetSubscription()
	event, err := eventNamed(one.GetEvent())
	if err == nil {
		err = s.tasks.Subscribe(ctx, r.GetTask(), Subscription{URL: one.GetUrl(), Event: event, Source: one.GetSource(), Secret: r.GetSecret()})
	}
	return &taskspb.SubscribeResponse{}, asStatus(err)
}

// Unsubscribe ends subscriptions.
func (s service) Unsubscribe(ctx context.Context, r *taskspb.UnsubscribeRequest) (*taskspb.UnsubscribeResponse, error) {
	_, err := s.checkPlugin(ctx, taskspb.Tasks_Unsubscribe_FullMethodName)
	if err == nil {
		err = s.tasks.unsubscribe(ctx, r.GetTask(), r.GetUrl(), r.Event)
	}
	return &taskspb.UnsubscribeResponse{}, asStatus(err)
}

// ListSubscriptions lists the subscriptions to a task.
func (s service) ListSubscriptions(ctx context.Context, r *taskspb.ListSubscriptionsRequest) (*taskspb.ListSubscriptionsResponse, error) {
	_, err := s.checkPlugin(ctx, taskspb.Tasks_ListSubscriptions_FullMethodName)
	if err != nil {
		return nil, asStatus(err)
	}
	found, err := s.tasks.SubscriptionsTo(ctx, r.GetTask())
	answer := &taskspb.ListSubscriptionsResponse{}
	for _, one := range found {
		answer.Subscriptions = append(answer.Subscriptions, &taskspb.Subscription{Url: one.URL, Event: one.Event.name(), Source: one.Source})
	}
	return answer, asStatus(err)
}
