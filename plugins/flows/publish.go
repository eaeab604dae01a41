package flows

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"dormouse/configs"
	"dormouse/internal/queue"
	"dormouse/shell/shellpb"
)

// Publish puts a message into a source. It returns when the message is on disk. publisher is
// the callsign of the plugin that publishes, empty for any other client: a message of the
// source's own plugin is a result, and goes to the topic that it names. The error wraps one of
// this package's, or ErrQueueFull or ErrFull of the queue. m stays as it is.
func (f *Flows) Publish(ctx context.Context, publisher, name string, m *shellpb.Message) (queue.Receipt, error) {
	return f.publishInOrder(ctx, publisher, name, m)()
}

// publishInOrder is Publish for a caller that has several messages under way, which enter the
// queue in the order of the calls. The function that it returns does the rest of Publish, and
// must be called at once.
func (f *Flows) publishInOrder(ctx context.Context, publisher, name string, m *shellpb.Message) (wait func() (queue.Receipt, error)) {
	w, stored, err := f.admit(publisher, name, m)
	if err != nil {
		return func() (queue.Receipt, error) { return queue.Receipt{}, err }
	}
	onDisk := f.Queues.PublishInOrder(ctx, stored, w.key())
	return func() (queue.Receipt, error) {
		receipt, err := onDisk()
		if err == nil && !receipt.Seen {
			w.published.add(1, time.Now())
		}
		return receipt, err
	}
}

// admit returns the flow and the message as its queue keeps it, or why the message is refused.
func (f *Flows) admit(publisher, name string, m *shellpb.Message) (w *flow, stored queue.Message, err error) {
	if w, err = f.find(name); err != nil {
		return nil, stored, err
	}
	s := w.now()
	if err := f.checkPublished(s, m); err != nil {
		return nil, stored, err
	}
	topic := ""
	if publisher != "" && publisher == s.Receiver() {
		if topic, err = s.topicOf(m.GetTopic()); err != nil {
			return nil, stored, err
		}
	}
	if err := f.checkAnyTaken(s, topic); err != nil {
		return nil, stored, err
	}
	if stored, err = toQueue(withTopic(m, topic)); err != nil {
		return nil, stored, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	stored.Scope = w.key()
	return w, stored, nil
}

// withTopic returns the message with that topic, and leaves m as it is.
func withTopic(m *shellpb.Message, topic string) *shellpb.Message {
	return &shellpb.Message{
		Id: m.GetId(), Topic: topic, ContentType: m.GetContentType(), Metadata: m.GetMetadata(), Body: m.GetBody(),
	}
}

// checkPublished returns an error if the flow takes no message from clients, or not this one.
func (f *Flows) checkPublished(s snapshot, m *shellpb.Message) error {
	_, expected := f.isExpected(s)
	switch {
	case s.isPlaceholder() && !expected:
		return fmt.Errorf("%w: no package declares %s now", ErrUnknown, s.Name)
	case s.Kind != configs.FlowSource && (!expected || s.Kind != ""):
		return fmt.Errorf("%w: %s is a %s, which takes what comes to its topics; publish to a source", ErrInvalid, s.Name, s.Kind)
	}
	if err := checkSize(m); err != nil {
		return err
	}
	return f.checkTakes(s)
}

// checkAnyTaken returns an ErrUnrouted if it is certain that no flow takes a message of the
// source: with a topic, one for that topic; without one, any that it may give.
func (f *Flows) checkAnyTaken(s snapshot, topic string) error {
	topics := s.Gives
	if topic != "" {
		topics = []string{topic}
	}
	var unrouted error
	for _, t := range topics {
		_, err := f.route(s, t)
		if !errors.Is(err, ErrUnrouted) {
			return err
		}
		unrouted = err
	}
	return unrouted
}

// route returns the queues that a message of the flow goes to for that topic, none if it is to
// be dropped, or an ErrUnrouted.
func (f *Flows) route(s snapshot, topic string) (queues []string, err error) {
	if queues = f.queuesOf(topic); len(queues) > 0 {
		return queues, nil
	}
	switch s.Unrouted {
	case configs.UnroutedDrop:
		return nil, nil
	case configs.UnroutedError, "":
		return nil, fmt.Errorf("%w %s, which %s gives", ErrUnrouted, topic, s.Name)
	}
	if queues = f.queuesOf(s.Unrouted); len(queues) > 0 {
		return queues, nil
	}
	return nil, fmt.Errorf(`%w %s, which %s gives, nor %s, its key "unrouted"`, ErrUnrouted, topic, s.Name, s.Unrouted)
}

// queuesOf returns the queues that a message for that topic goes to: the one of the engine that
// the topic is bound to, else those of the flows that take the topic.
func (f *Flows) queuesOf(topic string) []string {
	if remote, bound := f.Remote(topic); bound {
		return []string{remote}
	}
	return f.takersOf(topic)
}

// takersOf returns the keys of the flows here that take the topic, which the caller must not
// change.
func (f *Flows) takersOf(topic string) (keys []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.takers[topic]
}

// TakesTopic reports whether PublishToTopic takes messages for the topic now: a flow here takes
// the topic, and none of those rejects. The channel is closed when that may have changed.
func (f *Flows) TakesTopic(topic string) (takes bool, changed <-chan struct{}) {
	changed = f.nextChange()
	keys := f.takersOf(topic)
	for _, key := range keys {
		if w, err := f.find(key); err != nil || f.checkTakes(w.now()) != nil {
			return false, changed
		}
	}
	return len(keys) > 0, changed
}

// PublishToTopic puts a message that came from another machine into the queues of the flows here
// that take the topic, and returns when the message is on disk there. An id that the topic had
// within a day is accepted and not done again. The error wraps ErrUnrouted if no flow takes the
// topic, and ErrRejected if one of those takes no messages now.
func (f *Flows) PublishToTopic(ctx context.Context, topic string, m *shellpb.Message) (queue.Receipt, error) {
	if err := checkSize(m); err != nil {
		return queue.Receipt{}, err
	}
	keys := f.takersOf(topic)
	if len(keys) == 0 {
		return queue.Receipt{}, fmt.Errorf("%w %s", ErrUnrouted, topic)
	}
	for _, key := range keys {
		w, err := f.find(key)
		if err != nil {
			return queue.Receipt{}, err
		}
		if err := f.checkTakes(w.now()); err != nil {
			return queue.Receipt{}, fmt.Errorf("%s: %w", w.name, err)
		}
	}
	stored, err := toQueue(withTopic(m, topic))
	if err != nil {
		return queue.Receipt{}, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	stored.Scope = "topic " + topic
	return f.Queues.Publish(ctx, stored, keys...)
}

// outgoing returns where the results of the flow's work on the message with the id parent go:
// each to the queue of every flow that takes its topic, or to the dead letters of one that takes
// no messages now. The error is the fault of the plugin, or an ErrUnrouted.
func (f *Flows) outgoing(s snapshot, parent string, results []*shellpb.Message) (out []queue.Outgoing, err error) {
	if err := checkResults(s, results); err != nil {
		return nil, err
	}
	for i, r := range results {
		topic, err := s.topicOf(r.GetTopic())
		if err != nil {
			return nil, fmt.Errorf("result %d: %w", i+1, err)
		}
		queues, err := f.route(s, topic)
		if err != nil {
			return nil, err
		}
		r = withTopic(r, topic)
		if r.Id == "" {
			r.Id = resultID(parent, s.Name, i+1)
		}
		stored, err := toQueue(r)
		if err != nil {
			return nil, fmt.Errorf("result %d: %w", i+1, err)
		}
		for _, to := range queues {
			out = append(out, queue.Outgoing{Message: stored, To: to, Dead: f.whyDead(to)})
		}
	}
	return out, nil
}

// whyDead returns why a result for that queue goes to its dead letters, "" if it does not.
func (f *Flows) whyDead(key string) string {
	w, err := f.find(key)
	if err != nil {
		return "" // the queue of another machine
	}
	if v, why := f.decideNow(w.now()); v == reject {
		return fmt.Sprintf("%s took no messages when it came: %s", w.name, why)
	}
	return ""
}

// checkResults returns an error if the flow may not have these results.
func checkResults(s snapshot, results []*shellpb.Message) error {
	if s.Kind == configs.FlowSink && len(results) > 0 {
		return fmt.Errorf("%w: a sink has no results, and the plugin answered with %d", ErrInvalid, len(results))
	}
	return CheckResults(results)
}

// CheckResults returns an error if no flow may have these results: they are too many, or too
// large.
func CheckResults(results []*shellpb.Message) error {
	size := 0
	for i, r := range results {
		if err := checkSize(r); err != nil {
			return fmt.Errorf("result %d: %w", i+1, err)
		}
		size += proto.Size(r)
	}
	switch {
	case len(results) > shellpb.MaxFlowResults:
		return fmt.Errorf("%w: the plugin answered with %d results, and %d are allowed", ErrTooLarge, len(results), shellpb.MaxFlowResults)
	case size > shellpb.MaxMessage:
		return fmt.Errorf("%w: the plugin answered with %d bytes, and %d are allowed", ErrTooLarge, size, shellpb.MaxMessage)
	}
	return nil
}
