package flows

import (
	"context"
	"fmt"
	"strings"
	"time"
)

// KindRemote is the kind of a bound topic among the records of flows.
const KindRemote = "remote"

// RemoteTopic is how a topic is that is bound to an engine elsewhere.
type RemoteTopic struct {
	Topic     string `json:"topic"`
	Queue     string `json:"queue"` // of messages on their way out; dead letters are listed by it
	Engine    string `json:"engine"`
	Subject   string `json:"subject"`
	Connected bool   `json:"connected"`

	Messages int64      `json:"messages"` // on their way out
	Bytes    int64      `json:"bytes"`
	Dead     int64      `json:"dead"`
	Oldest   *time.Time `json:"oldest,omitempty"`

	Why       string `json:"why,omitempty"`       // why messages wait here for the engine
	WhyTaking string `json:"whytaking,omitempty"` // why messages wait in the engine for this host
}

// remotePrefix begins the names of the queues of bound topics. No flow has such a name.
const remotePrefix = "remote/"

// RemoteQueue returns the name of the queue of messages for a topic that is bound.
func RemoteQueue(topic string) string { return remotePrefix + topic }

// queueNamed returns the queue of the flow of that name, or of the bound topic that RemoteQueue
// names. The error is an ErrUnknown.
func (f *Flows) queueNamed(name string) (string, error) {
	if topic, is := strings.CutPrefix(name, remotePrefix); is {
		if queue, bound := f.Remote(topic); bound {
			return queue, nil
		}
	}
	w, err := f.find(name)
	if err != nil {
		return "", err
	}
	return w.key(), nil
}

// remoteRecords returns the bound topics as clients see them among the flows.
func (f *Flows) remoteRecords(ctx context.Context) ([]record, error) {
	if f.RemoteTopics == nil {
		return nil, nil
	}
	topics, err := f.RemoteTopics(ctx)
	if err != nil {
		return nil, err
	}
	all := make([]record, len(topics))
	for i, t := range topics {
		all[i] = t.record()
	}
	return all, nil
}

// record returns the topic as clients see it among the flows.
func (t RemoteTopic) record() record {
	r := record{
		Name: t.Queue, Kind: KindRemote, Effect: effects[process], Why: t.Why, Ready: t.Connected,
		Messages: t.Messages, Bytes: t.Bytes, Dead: t.Dead, Remote: &t,
	}
	if !t.Connected {
		r.Effect = effects[keep]
	}
	if r.Why == "" {
		r.Why = t.WhyTaking
	}
	if t.Oldest != nil {
		r.Oldest = time.Since(*t.Oldest).Seconds()
	}
	return r
}

// remoteRecordOf returns the bound topic whose queue has that name, or an ErrUnknown.
func (f *Flows) remoteRecordOf(ctx context.Context, queue string) (record, error) {
	all, err := f.remoteRecords(ctx)
	if err != nil {
		return record{}, err
	}
	for _, r := range all {
		if r.Name == queue {
			return r, nil
		}
	}
	return record{}, fmt.Errorf("%w: no [[flows.remote]] binds the topic of %.64q", ErrUnknown, queue)
}
