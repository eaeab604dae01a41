package remote

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"dormouse/internal/queue"
)

// sendOne passes the next message on to the stream. After an error the message is in the queue
// as before.
func (b *binding) sendOne(ctx context.Context) error {
	taken, err := b.o.Queues.Take(ctx, b.queue)
	if err != nil {
		return err
	}
	if err = b.send(ctx, taken.Message); err == nil {
		err = taken.Finish(ctx)
	} else if isTooLong(err) {
		b.log.Error().Err(err).Str("id", taken.ID).Msg("a message became a dead letter")
		err = taken.Bury(ctx, err.Error())
	}
	if err != nil && !errors.Is(err, queue.ErrGone) {
		taken.PutBack()
		return err
	}
	return nil
}

// send returns nil when the stream has the message. A message that the stream has already is
// one that it confirms again, within its duplicate window.
func (b *binding) send(ctx context.Context, m queue.Message) error {
	message, err := toNATS(b.Subject, m)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	options := []jetstream.PublishOpt{jetstream.WithMsgID(m.ID), jetstream.WithRetryAttempts(0)}
	if b.Stream != "" {
		options = append(options, jetstream.WithExpectStream(b.Stream))
	}
	_, err = b.js.PublishMsg(ctx, message, options...)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("the NATS server has not confirmed a message within %v: %w", answerWithin, err)
	case errors.Is(err, jetstream.ErrNoStreamResponse), errors.Is(err, nats.ErrNoResponders):
		return fmt.Errorf("no stream of the NATS server takes the subject %s; make one: nats stream add --subjects %s: %w", b.Subject, b.Subject, err)
	case isTooLong(err):
		return fmt.Errorf("the message is longer than the NATS server takes; raise its max_payload or the stream's max-msg-size: %w", err)
	}
	return err
}

// messageTooLong is the server's number for a message beyond the bound of its stream.
const messageTooLong = 10054

// isTooLong reports whether the server never takes the message.
func isTooLong(err error) bool {
	api, is := errors.AsType[*jetstream.APIError](err)
	return errors.Is(err, nats.ErrMaxPayload) || is && api.ErrorCode == messageTooLong
}
