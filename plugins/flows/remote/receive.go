package remote

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"dormouse/internal/queue"
	"dormouse/plugins/flows"
)

const (
	// someMessages is how many messages of a stream are fetched at a time; other hosts get
	// those after.
	someMessages = 16
	// someTime is how long one fetch waits for messages.
	someTime = 5 * time.Second
	// acknowledgeWithin is how long the stream waits for an acknowledgement before it gives a
	// message to another host.
	acknowledgeWithin = 30 * time.Second
	// againAfter is when the stream gives a message again that this host could not keep.
	againAfter = time.Second
)

// takeSome puts the next messages of the stream into queues here, if a flow takes them. It
// returns an error if one of them must come again.
func (b *binding) takeSome(ctx context.Context) (err error) {
	defer func() { b.troubled = err != nil }()
	taken, changed := b.o.Flows.TakesTopic(b.Topic)
	if !taken {
		b.setWhy(&b.whyTaking, nil)
		select {
		case <-changed:
		case <-ctx.Done():
		}
		return nil
	}
	consumer, err := b.consumer(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, someTime)
	defer cancel()
	number := someMessages
	if b.troubled { // one alone can be given back at once
		number = 1
	}
	some, err := consumer.Fetch(number, jetstream.FetchContext(ctx))
	if err != nil {
		return fmt.Errorf("cannot take messages from the stream: %w", err)
	}
	for m := range some.Messages() {
		if err == nil {
			err = b.accept(context.WithoutCancel(ctx), m)
		}
		if err != nil {
			_ = m.NakWithDelay(againAfter) // else the stream gives it again by itself, later
		}
	}
	if failed := some.Error(); err == nil && failed != nil && !errors.Is(failed, context.DeadlineExceeded) {
		err = fmt.Errorf("cannot take messages from the stream: %w", failed)
	}
	return err
}

// accept puts a message of the stream into queues here, and acknowledges it then. An error means
// that it must come again; it may then be here already, and its id makes that no second one.
func (b *binding) accept(ctx context.Context, m jetstream.Msg) error {
	message, err := fromNATS(m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	if _, err := b.o.Flows.PublishToTopic(ctx, b.Topic, message); err != nil {
		if isInvalid(err) {
			b.log.Error().Err(err).Str("id", message.GetId()).Msg("a message of the stream can't be taken; the stream keeps it as its limits say")
			return m.TermWithReason(err.Error())
		}
		return fmt.Errorf("cannot keep a message of the stream here: %w", err)
	}
	if err := m.DoubleAck(ctx); err != nil {
		return fmt.Errorf("cannot acknowledge a message of the stream: %w", err)
	}
	return nil
}

// isInvalid reports whether no later attempt to keep the message can succeed.
func isInvalid(err error) bool {
	return errors.Is(err, flows.ErrInvalid) || errors.Is(err, flows.ErrTooLarge) || errors.Is(err, queue.ErrTooLong)
}

// consumer returns the durable consumer that hosts share. It is made if the stream has none of
// that name.
func (b *binding) consumer(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	stream := b.Stream
	if stream == "" {
		var err error
		if stream, err = b.js.StreamNameBySubject(ctx, b.Subject); err != nil {
			return nil, fmt.Errorf("cannot find the stream of the subject %s: %w", b.Subject, err)
		}
	}
	durable := b.Durable
	if durable == "" {
		durable = "dormouse-" + strings.ReplaceAll(b.Topic, ".", "_")
	}
	consumer, err := b.js.Consumer(ctx, stream, durable)
	if errors.Is(err, jetstream.ErrConsumerNotFound) {
		consumer, err = b.js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
			Durable: durable, FilterSubject: b.Subject,
			AckPolicy: jetstream.AckExplicitPolicy, AckWait: acknowledgeWithin,
		})
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use the consumer %s of the stream %s: %w", durable, stream, err)
	}
	if has := consumer.CachedInfo().Config; has.FilterSubject != "" && has.FilterSubject != b.Subject || has.AckPolicy != jetstream.AckExplicitPolicy {
		return nil, fmt.Errorf(`the consumer %s of the stream %s takes %q with acknowledgements %q; name another with the key "durable"`,
			durable, stream, has.FilterSubject, has.AckPolicy)
	}
	return consumer, nil
}
