package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"dormouse/configs"
	"dormouse/internal/jsonrpc"
	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// subscribers holds the subscriptions of all websockets, by event. The zero value is
// ready.
type subscribers struct {
	mu      sync.RWMutex
	byTopic map[topic][]subscription
}

// topic is one event of one callsign. Neither event nor callsign needs to exist.
type topic struct{ callsign, event string }

// subscription is one registration of a websocket for a topic. A websocket has no two
// equal ones for a topic.
type subscription struct {
	socket *socket
	id     string
	index  string
}

// maxNameBytes bounds the names in a subscription, which every event repeats.
const maxNameBytes = 256

// acknowledgement stands in the table for the result of register and unregister,
// which depends on the dialect.
type acknowledgement struct{}

// subscriptionMethods returns the methods that begin and end subscriptions.
func subscriptionMethods() []method {
	params := []parameter{
		{name: "event", doc: "the name of the event, which need not exist"},
		{name: "id", doc: "what the method of the notifications begins with"},
	}
	return []method{
		{
			name: "register", access: access.Call, about: subscribedInstance, params: params, missingParam: thunder.InvalidParameter, index: "what the event must be about",
			result: acknowledgement{}, returns: "once it is registered; refused over plain HTTP, where there is no channel for notifications",
			doc:    "Subscribes this websocket to an event. It then gets notifications with the method id.event.",
			errors: []thunder.ErrorNumber{thunder.FailedRegistered, thunder.InvalidParameter, thunder.NotSupported},
			serve:  serveRegister,
		},
		{
			name: "unregister", access: access.Call, about: subscribedInstance, params: params, missingParam: thunder.InvalidParameter, index: "as it was registered",
			result: acknowledgement{}, returns: "once it is ended",
			doc:    "Ends a subscription.",
			errors: []thunder.ErrorNumber{thunder.FailedUnregistered, thunder.InvalidParameter},
			serve:  serveUnregister,
		},
	}
}

// serveRegister subscribes the caller's websocket to an event, once earlier events have
// gone to the subscribers of before. R5 clients are first sent the present states. Over
// plain HTTP it returns NotSupported.
func serveRegister(ctx context.Context, r request) (any, error) {
	if r.from.socket == nil {
		return nil, thunder.NewError(thunder.NotSupported, errors.New("cannot register over plain HTTP: there is no channel to notify; use a websocket"))
	}
	t, s := r.topicAndSubscription()
	if max(len(t.event), len(s.id), len(s.index)) > maxNameBytes {
		return nil, thunder.NewError(thunder.InvalidParameter, fmt.Errorf("event, id and index have at most %d bytes each", maxNameBytes))
	}
	r.front.waitForEarlierEvents(ctx, t, s.index)
	var snapshot []json.RawMessage
	if r.dialect().SnapshotsOnRegister() {
		r.front.snapshots.Lock()
		defer r.front.snapshots.Unlock()
		snapshot = r.front.snapshots.eventParamsForNewSubscriber(t, s.index)
	}
	if err := r.front.events.addAndSendFirstEvents(t, s, r.front.limits.subscriptions, snapshot); err != nil {
		return nil, thunder.NewError(thunder.FailedRegistered, err)
	}
	return r.dialect().RegisterResult(), nil
}

// waitForEarlierEvents returns when the events of a topic that have happened are sent. An
// event that a plugin had before is on its way to the host for a moment.
func (f *Front) waitForEarlierEvents(ctx context.Context, t topic, index string) {
	switch {
	case t == subsystemChange:
		f.supervisor.WaitForSubsystemEvents()
	case t == allEvents:
		var waits sync.WaitGroup
		for _, sh := range f.shellsOrOne(index) {
			waits.Go(func() { sh.WaitForReports(ctx) })
		}
		waits.Wait()
	case t.callsign == configs.ControllerCallsign:
		for _, sh := range f.shellsOrOne(index) {
			sh.WaitForTransitions()
		}
	default:
		for _, sh := range f.shellsOrOne(t.callsign) {
			sh.WaitForReports(ctx)
		}
	}
}

// shellsOrOne returns the instance of that callsign, which may be unknown, or every
// instance for the empty callsign.
func (f *Front) shellsOrOne(callsign string) []*shell.Shell {
	if callsign == "" {
		return f.supervisor.Shells()
	}
	if sh, known := f.supervisor.Shell(callsign); known {
		return []*shell.Shell{sh}
	}
	return nil
}

// serveUnregister ends a subscription of the caller's websocket.
func serveUnregister(_ context.Context, r request) (any, error) {
	if t, s := r.topicAndSubscription(); !r.front.events.removeSubscription(t, s) {
		return nil, thunder.NewError(thunder.FailedUnregistered, nil)
	}
	return r.dialect().RegisterResult(), nil
}

// topicAndSubscription returns the topic and the subscription in the parameters.
func (r request) topicAndSubscription() (topic, subscription) {
	return topic{r.shell.Callsign(), r.args["event"]}, subscription{r.from.socket, r.args["id"], r.index}
}

// addAndSendFirstEvents adds a subscription, and sends its websocket firstEvents before
// any other event. It returns an error if the websocket has the same subscription
// already, or maxPerSocket subscriptions.
func (s *subscribers) addAndSendFirstEvents(t topic, sub subscription, maxPerSocket int, firstEvents []json.RawMessage) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.byTopic[t], sub) {
		return errors.New("the same event, id and index are registered already")
	}
	if sub.socket.subscriptions == maxPerSocket {
		return fmt.Errorf("the websocket has %d subscriptions already", maxPerSocket)
	}
	if err := sub.socket.share.Take(sub.bytes(t)); err != nil {
		return err
	}
	if s.byTopic == nil {
		s.byTopic = make(map[topic][]subscription)
	}
	sub.socket.subscriptions++
	sub.socket.subscriptionBytes += sub.bytes(t)
	sub.socket.place.Begin() // a websocket that waits for events is not idle
	s.byTopic[t] = append(s.byTopic[t], sub)
	for _, params := range firstEvents {
		sub.queueNotification(t.event, params)
	}
	return nil
}

// removeSubscription ends a subscription. It returns false if there is no such subscription.
func (s *subscribers) removeSubscription(t topic, sub subscription) (found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.byTopic[t], sub)
	if i < 0 {
		return false
	}
	sub.socket.subscriptions--
	sub.socket.subscriptionBytes -= sub.bytes(t)
	sub.socket.share.GiveBack(sub.bytes(t))
	sub.socket.place.End()
	s.setSubscriptions(t, slices.Delete(s.byTopic[t], i, i+1))
	return true
}

// removeAllOfSocket ends all subscriptions of a websocket.
func (s *subscribers) removeAllOfSocket(gone *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t, subs := range s.byTopic {
		s.setSubscriptions(t, slices.DeleteFunc(subs, func(sub subscription) bool { return sub.socket == gone }))
	}
	gone.share.GiveBack(gone.subscriptionBytes)
	gone.subscriptionBytes = 0
}

// bytes returns the memory that the subscription to a topic takes.
func (s subscription) bytes(t topic) int { return 256 + len(t.event) + len(s.id) + len(s.index) }

// setSubscriptions replaces the subscriptions of a topic. The caller holds mu.
func (s *subscribers) setSubscriptions(t topic, subs []subscription) {
	if len(subs) == 0 {
		delete(s.byTopic, t)
		return
	}
	s.byTopic[t] = subs
}

// subscriptionCount returns how many subscriptions there are to events of the callsign.
func (s *subscribers) subscriptionCount(callsign string) int {
	s.mu.RLock()
	defer s.mu.RUnlock()
	n := 0
	for t, subs := range s.byTopic {
		if t.callsign == callsign {
			n += len(subs)
		}
	}
	return n
}

// hasSubscribers reports whether the topic has subscriptions.
func (s *subscribers) hasSubscribers(t topic) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.byTopic[t]) > 0
}

// queueForSubscribers queues an event for the subscribers of a topic, without waiting. params
// returns the parameters for a subscription, and false if it gets no event.
func (s *subscribers) queueForSubscribers(t topic, params func(subscription) (json.RawMessage, bool)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, sub := range s.byTopic[t] {
		if p, meant := params(sub); meant {
			sub.queueNotification(t.event, p)
		}
	}
}

// queueNotification queues an event with those parameters for the websocket, as a
// notification with the method id.event, or id.event@index.
func (s subscription) queueNotification(event string, params json.RawMessage) {
	n := jsonrpc.Notification{Method: s.id + "." + event, Params: params}
	if s.index != "" {
		n.Method += "@" + s.index
	}
	s.socket.queueEventOrCutOff(n.Append(nil))
}
