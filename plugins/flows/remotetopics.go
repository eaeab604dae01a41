package flows

import (
	"strings"
	"time"
)

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
