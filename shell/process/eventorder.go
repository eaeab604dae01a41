package process

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc/metadata"

	"dormouse/shell/shellpb"
)

// maxEventDelay is how long an answer waits at most for the events that arose before it.
const maxEventDelay = time.Second

// eventOrder makes the answers of a plugin wait for the events that arose before them. The
// plugin announces in each answer the number of its newest event; the answers of a plugin
// that announces none wait for nothing.
type eventOrder struct {
	log zerolog.Logger

	mu        sync.Mutex
	following bool          // the plugin's events are read and passed on
	passed    uint64        // number of the last event that was passed on
	announced uint64        // highest number that the plugin has announced
	overdue   uint64        // number that was announced and did not come in time, 0 for none
	changed   chan struct{} // closed when following or passed changes; nil while nothing waits
}

// begin notes that the events after that number are read from now on.
func (o *eventOrder) begin(after uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.following, o.passed = true, after
}

// end notes that no more events come, and lets all answers go.
func (o *eventOrder) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.following = false
	o.signalWaiters()
}

// notePassed notes that the events up to that number have been passed on.
func (o *eventOrder) notePassed(sequence uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.passed = sequence
	o.signalWaiters()
}

// signalWaiters lets waiting answers look again. The caller holds mu.
func (o *eventOrder) signalWaiters() {
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

// waitForTrailer returns when the events that the trailer of an answer announces have been
// passed on, see wait.
func (o *eventOrder) waitForTrailer(ctx context.Context, trailer metadata.MD) {
	if sequence, named := shellpb.ParseEventsUntil(trailer); named {
		o.wait(ctx, sequence)
	}
}

// waitForAnnounced returns when all events that were announced so far have been passed on,
// see wait.
func (o *eventOrder) waitForAnnounced(ctx context.Context) {
	o.mu.Lock()
	announced := o.announced
	o.mu.Unlock()
	o.wait(ctx, announced)
}

// wait returns when the event of that number has been passed on, after maxEventDelay or when
// ctx ends. It does not wait while no events are read, nor for a plugin that owes an event
// for longer already.
func (o *eventOrder) wait(ctx context.Context, sequence uint64) {
	changed := o.changedUnlessPassed(sequence)
	if changed == nil {
		return
	}
	late := time.NewTimer(maxEventDelay)
	defer late.Stop()
	for changed != nil {
		select {
		case <-changed:
			changed = o.changedUnlessPassed(sequence)
		case <-ctx.Done():
			return
		case <-late.C:
			o.noteOverdue(sequence)
			return
		}
	}
}

// changedUnlessPassed returns a channel that is closed when an answer that was announced with
// that number may look again, nil if it need not wait.
func (o *eventOrder) changedUnlessPassed(sequence uint64) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.announced = max(o.announced, sequence)
	if !o.following || o.passed >= sequence || o.passed < o.overdue {
		return nil
	}
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.changed
}

// noteOverdue notes that an announced event has not come in time. Until it comes no answer
// waits.
func (o *eventOrder) noteOverdue(sequence uint64) {
	o.mu.Lock()
	passed := o.passed
	o.overdue = max(o.overdue, sequence)
	o.mu.Unlock()
	o.log.Warn().Uint64("announced", sequence).Uint64("sent", passed).Msg("the plugin has not sent an event that it announced; its answers no longer wait for it")
}

// waitForEvents returns when the events that the plugin sent before have been passed on,
// after maxEventDelay at the latest. Before a sleep it keeps them from subscribers that come
// meanwhile.
func (b *Backend) waitForEvents(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, maxEventDelay)
	defer cancel()
	_, _ = b.Exists(ctx, "") // any answer of the plugin comes after its events
}
