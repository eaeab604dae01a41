package remote

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/plugins/flows"
)

const (
	// answerWithin is how long a server has to confirm.
	answerWithin = 10 * time.Second
	// The pauses after a failure, doubled after each more.
	firstPause = 100 * time.Millisecond
	lastPause  = 2 * time.Second
)

// binding is one topic that is bound.
type binding struct {
	configs.Remote
	o     Options
	queue string
	log   zerolog.Logger
	conn  *nats.Conn // set by run before its loops begin
	js    jetstream.JetStream

	troubled bool // the last message of the stream could not be kept here; only takeSome uses it

	mu             sync.Mutex // guards the fields below
	connected      bool
	connectError   error
	why, whyTaking string
}

func newBinding(config configs.Remote, o Options) *binding {
	return &binding{
		Remote: config, o: o,
		queue: flows.RemoteQueue(config.Topic),
		log:   o.Log.With().Str("topic", config.Topic).Str("nats", config.NATS).Str("subject", config.Subject).Logger(),
	}
}

// status returns how the topic is.
func (b *binding) status(ctx context.Context) (flows.RemoteTopic, error) {
	waiting, err := b.o.Queues.Stats(ctx, b.queue)
	b.mu.Lock()
	defer b.mu.Unlock()
	t := flows.RemoteTopic{
		Topic: b.Topic, Queue: b.queue, Engine: b.NATS, Subject: b.Subject, Connected: b.connected,
		Messages: waiting.Messages, Bytes: waiting.Bytes, Dead: waiting.Dead, Why: b.why, WhyTaking: b.whyTaking,
	}
	if t.Why == "" && !b.connected {
		t.Why = b.unreached().Error() // also when nothing waits yet
	}
	if !waiting.Oldest.IsZero() {
		t.Oldest = &waiting.Oldest
	}
	return t, err
}

// run connects, and passes messages on in both directions until ctx ends.
func (b *binding) run(ctx context.Context) {
	for failures := 1; ; failures++ {
		err := b.connect()
		if err == nil {
			break
		}
		b.setWhy(&b.why, err)
		b.setWhy(&b.whyTaking, err)
		if !pause(ctx, failures) {
			return
		}
	}
	defer b.conn.Close()
	var both sync.WaitGroup
	both.Go(func() { b.repeat(ctx, &b.why, b.sendOne) })
	both.Go(func() { b.repeat(ctx, &b.whyTaking, b.takeSome) })
	both.Wait()
}

// repeat calls work until ctx ends, and pauses after each failure. It keeps the reason in why.
func (b *binding) repeat(ctx context.Context, why *string, work func(context.Context) error) {
	for failures := 0; ctx.Err() == nil; {
		err := work(ctx)
		if ctx.Err() != nil {
			return
		}
		b.setWhy(why, b.explained(err))
		if err == nil {
			failures = 0
			continue
		}
		failures++
		pause(ctx, failures)
	}
}

// pause waits after that many failures in a row. It returns false if ctx ends before.
func pause(ctx context.Context, failures int) bool {
	wait := min(lastPause, firstPause<<min(failures-1, 8))
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// setWhy keeps the reason why messages wait, and reports it when it changes.
func (b *binding) setWhy(why *string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	b.mu.Lock()
	before := *why
	*why = text
	b.mu.Unlock()
	direction := "messages for the stream"
	if why == &b.whyTaking {
		direction = "messages of the stream"
	}
	switch text {
	case before:
	case "":
		b.log.Info().Msg(direction + " are passed on again")
	default:
		b.log.Warn().Msg(direction + " wait: " + text)
	}
}

// explained adds to an error what is wrong with the connection, if something is.
func (b *binding) explained(err error) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil || b.connected {
		return err
	}
	return b.unreached()
}

// unreached returns why the server is not reached. The caller holds mu.
func (b *binding) unreached() error {
	if b.connectError == nil {
		return fmt.Errorf("the NATS server %s is not reached yet", b.NATS)
	}
	return fmt.Errorf("cannot reach the NATS server %s: %w", b.NATS, b.connectError)
}

// noteConnection keeps whether the server is reached, and if not, why.
func (b *binding) noteConnection(connected bool, cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.connected = connected
	if connected {
		b.connectError = nil
	} else if cause != nil {
		b.connectError = cause
	}
}

// connect begins to connect. What is wrong with the configuration is an error; a server that
// can't be reached is tried again and again by the client itself.
func (b *binding) connect() error {
	options, err := b.options()
	if err != nil {
		return err
	}
	if b.conn, err = nats.Connect(b.NATS, options...); err != nil {
		return fmt.Errorf("cannot connect to the NATS server %s: %w", b.NATS, err)
	}
	b.js, err = jetstream.New(b.conn)
	if err != nil {
		b.conn.Close()
		return fmt.Errorf("cannot use streams of the NATS server %s: %w", b.NATS, err)
	}
	if b.conn.IsConnected() {
		b.noteConnection(true, nil)
	}
	return nil
}

// options returns how the host connects: as which client, with which certificates, and again
// whenever the connection breaks.
func (b *binding) options() ([]nats.Option, error) {
	options := []nats.Option{
		nats.Name("dormouse"),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(firstPause),
		nats.ReconnectJitter(firstPause, firstPause),
		nats.ReconnectBufSize(-1),   // a message is not sent, or the stream has confirmed it
		nats.IgnoreAuthErrorAbort(), // the operator may put it right
		nats.ConnectHandler(func(*nats.Conn) { b.noteConnection(true, nil) }),
		nats.ReconnectHandler(func(*nats.Conn) { b.noteConnection(true, nil) }),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			b.noteConnection(false, cmp.Or(err, errors.New("it has closed the connection")))
		}),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { b.noteConnection(false, err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			b.log.Warn().Err(err).Msg("the NATS server reports an error")
		}),
	}
	more, err := b.credentials()
	return append(options, more...), err
}
