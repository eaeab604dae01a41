package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"

	"dormouse/internal/jsonrpc"
)

// subscribers is who wants to be told what. The zero value is ready.
type subscribers struct {
	mu      sync.RWMutex
	byTopic map[topic][]subscription
}

// topic is one event of one callsign. Neither needs to exist.
type topic struct{ callsign, event string }

// subscription is one registration; a socket has no two that are equal.
type subscription struct {
	socket *socket
	id     string
	index  string
}

// longestName bounds what a subscription keeps, and repeats in every event.
const longestName = 256

func serveRegister(_ context.Context, r request) (any, error) {
	if r.from.socket == nil {
		return nil, &fault{notSupported, errors.New("cannot register over plain HTTP: there is no channel to notify; use a websocket")}
	}
	t, s := r.subscription()
	if max(len(t.event), len(s.id), len(s.index)) > longestName {
		return nil, &fault{invalidParameter, fmt.Errorf("event, id and index have at most %d bytes each", longestName)}
	}
	if err := r.front.events.add(t, s, r.front.limits.subscriptions); err != nil {
		return nil, &fault{failedRegistered, err}
	}
	return r.front.dialect.registered(), nil
}

func serveUnregister(_ context.Context, r request) (any, error) {
	if t, s := r.subscription(); !r.front.events.remove(t, s) {
		return nil, &fault{number: failedUnregistered}
	}
	return r.front.dialect.registered(), nil
}

func (r request) subscription() (topic, subscription) {
	return topic{r.shell.Callsign(), r.args["event"]}, subscription{r.from.socket, r.args["id"], r.index}
}

func (s *subscribers) add(t topic, sub subscription, most int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.byTopic[t], sub) {
		return errors.New("the same event, id and index are registered already")
	}
	if sub.socket.subscriptions == most {
		return fmt.Errorf("the websocket has %d subscriptions already", most)
	}
	if s.byTopic == nil {
		s.byTopic = make(map[topic][]subscription)
	}
	sub.socket.subscriptions++
	s.byTopic[t] = append(s.byTopic[t], sub)
	return nil
}

func (s *subscribers) remove(t topic, sub subscription) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.byTopic[t], sub)
	if i < 0 {
		return false
	}
	sub.socket.subscriptions--
	s.set(t, slices.Delete(s.byTopic[t], i, i+1))
	return true
}

// drop forgets a socket.
func (s *subscribers) drop(gone *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for t, subs := range s.byTopic {
		s.set(t, slices.DeleteFunc(subs, func(sub subscription) bool { return sub.socket == gone }))
	}
}

func (s *subscribers) set(t topic, subs []subscription) {
	if len(subs) == 0 {
		delete(s.byTopic, t)
		return
	}
	s.byTopic[t] = subs
}

// count is how many subscriptions there are to events of the callsign.
func (s *subscribers) count(callsign string) int {
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

func (s *subscribers) any(t topic) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return len(s.byTopic[t]) > 0
}

// publish queues the event for its subscribers and waits for none of them.
// params is asked once for each index what its subscribers are sent, and
// whether they are meant.
func (s *subscribers) publish(t topic, params func(index string) (json.RawMessage, bool)) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, sub := range s.byTopic[t] {
		p, meant := params(sub.index)
		if !meant {
			continue
		}
		n := jsonrpc.Notification{Method: sub.id + "." + t.event, Params: p}
		if sub.index != "" {
			n.Method += "@" + sub.index
		}
		sub.socket.notify(n.Append(nil))
	}
}
