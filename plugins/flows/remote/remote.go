// Package remote binds topics to streams of NATS servers. What flows here give for such a topic
// waits in a queue until the stream has it; what the stream has for flows here is acknowledged
// when their queues have it. Hosts that use one durable consumer share its messages. The
// package does not know which flows there are.
package remote

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/queue"
	"dormouse/plugins/flows"
	"dormouse/shell/shellpb"
)

// Options is what New needs to make Remotes.
type Options struct {
	Remotes []configs.Remote
	Queues  *queue.Queues
	Log     zerolog.Logger
	Flows   Flows
}

// Flows are the flows of this host.
type Flows interface {
	// TakesTopic reports whether a flow here takes the topic now. The channel is closed when
	// that may have changed.
	TakesTopic(topic string) (takes bool, changed <-chan struct{})
	// PublishToTopic puts a message of a stream into the queues of the flows that take the
	// topic. It returns nil when the message is on disk there.
	PublishToTopic(ctx context.Context, topic string, m *shellpb.Message) (queue.Receipt, error)
}

// Remotes are all topics that are bound.
type Remotes struct {
	bindings []*binding
}

// New returns the topics that o binds. Nothing is connected before Run.
func New(o Options) *Remotes {
	r := &Remotes{}
	for _, config := range o.Remotes {
		r.bindings = append(r.bindings, newBinding(config, o))
	}
	return r
}

// QueueOf returns the queue of messages that leave this machine for that topic, if the topic
// is bound.
func (r *Remotes) QueueOf(topic string) (name string, bound bool) {
	at := slices.IndexFunc(r.bindings, func(b *binding) bool { return b.Topic == topic })
	if at < 0 {
		return "", false
	}
	return r.bindings[at].queue, true
}

// Run keeps the connections and passes messages on until ctx ends.
func (r *Remotes) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, b := range r.bindings {
		all.Go(func() { b.run(ctx) })
	}
	all.Wait()
}

// Topics returns how all bound topics are, in the order of the configuration.
func (r *Remotes) Topics(ctx context.Context) (all []flows.RemoteTopic, err error) {
	for _, b := range r.bindings {
		t, err := b.status(ctx)
		if err != nil {
			return nil, fmt.Errorf("cannot read what waits for the topic %s: %w", b.Topic, err)
		}
		all = append(all, t)
	}
	return all, nil
}
