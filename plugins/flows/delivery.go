package flows

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"dormouse/internal/queue"
	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// How long a delivery waits before it tries again what was no attempt, unless something changes:
// first, and at most. It is doubled each time.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second

	parallelPause = time.Second // of one place among several

	workerIdle = time.Second // how long a worker waits for its next message
)

// delivery gives the messages of one flow to its plugin, while the flow is declared and the
// host runs.
type delivery struct {
	flows *Flows
	flow  *flow
	stop  context.CancelFunc
	calls context.Context // ends the calls of the plugin, when the host ends
	pause time.Duration   // the next one; only run uses it

	working sync.WaitGroup
	places  chan struct{} // has a word for each message that is under way
	// handed passes messages to workers that are idle. The stack of a goroutine grows on the way
	// of a call to the plugin, so one is used for many messages.
	handed chan *queue.Taken
}

// startDeliveryLocked begins to deliver the messages of a flow that is declared, if deliveries
// may run; one that runs already is replaced, and goes on until its messages are done. The
// caller holds mu.
func (f *Flows) startDeliveryLocked(w *flow) {
	f.stopDeliveryLocked(w)
	s := w.now()
	if f.running == nil || s.isPlaceholder() {
		return
	}
	ctx, stop := context.WithCancel(f.running)
	d := &delivery{flows: f, flow: w, stop: stop, calls: f.running, places: make(chan struct{}, max(s.Parallel, 1)), handed: make(chan *queue.Taken)}
	w.mu.Lock()
	w.delivery = d
	w.mu.Unlock()
	f.deliveries.Go(func() { d.run(ctx) })
}

// stopDeliveryLocked ends the delivery of a flow, without waiting for it. The caller holds mu.
func (f *Flows) stopDeliveryLocked(w *flow) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.delivery != nil {
		w.delivery.stop()
		w.delivery = nil
	}
}

// run delivers messages until ctx ends, one after the other or as many at once as the flow says.
// It returns when none is under way.
func (d *delivery) run(ctx context.Context) {
	defer d.stop()
	defer d.working.Wait()
	for d.awaitPlugin(ctx) {
		select {
		case d.places <- struct{}{}:
		case <-ctx.Done():
			return
		}
		if !d.takeAndDeliver(ctx) {
			<-d.places
		}
	}
}

// takeAndDeliver takes the next message and delivers it, in the background if the flow has
// several places. It reports whether a place is still taken.
func (d *delivery) takeAndDeliver(ctx context.Context) (placeTaken bool) {
	t, err := d.flows.Queues.Take(ctx, d.flow.key())
	if err != nil {
		if ctx.Err() == nil {
			d.hinder(ctx, err.Error())
		}
		return false
	}
	if goes, _ := d.mayGo(ctx); !goes { // what was so before the wait for a message may not be so now
		t.PutBack()
		return false
	}
	if cap(d.places) == 1 {
		d.hinder(ctx, d.deliver(ctx, t))
		return false
	}
	select {
	case d.handed <- t:
	default:
		d.working.Go(func() { d.work(ctx, t) })
	}
	return true
}

// work delivers a message, and others that are handed to it, until none is for a while.
func (d *delivery) work(ctx context.Context, t *queue.Taken) {
	idle := time.NewTimer(workerIdle)
	defer idle.Stop()
	for {
		d.deliverInPlace(ctx, t)
		idle.Reset(workerIdle)
		select {
		case t = <-d.handed:
		case <-idle.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// deliverInPlace delivers a message in one of several places, and leaves the place.
func (d *delivery) deliverInPlace(ctx context.Context, t *queue.Taken) {
	defer func() { <-d.places }()
	why := d.deliver(ctx, t)
	d.flow.setHindrance(why)
	if why != "" {
		waitAny(ctx, d.flows.nextChange(), nil, parallelPause)
	}
}

// hinder notes why a message could not be delivered, and waits until something changes or the
// pause is over. With an empty reason it notes that one was delivered.
func (d *delivery) hinder(ctx context.Context, why string) {
	d.flow.setHindrance(why)
	if why == "" {
		d.pause = 0
		return
	}
	d.pause = min(max(2*d.pause, firstPause), lastPause)
	waitAny(ctx, d.flows.nextChange(), nil, d.pause)
}

// awaitPlugin returns true when a message may go to the plugin, and false when ctx ends.
func (d *delivery) awaitPlugin(ctx context.Context) bool {
	for ctx.Err() == nil {
		goes, waitForChange := d.mayGo(ctx)
		if goes {
			return true
		}
		waitForChange()
	}
	return false
}

// mayGo reports whether a message may go to the plugin now, and returns a function that waits
// until that may be different.
func (d *delivery) mayGo(ctx context.Context) (goes bool, waitForChange func()) {
	f := d.flows
	changed := f.nextChange()
	s := d.flow.now()
	if v, _ := f.decideNow(s); v != process {
		return false, func() { waitAny(ctx, changed, nil, 0) }
	}
	if sh := f.shellOf(s); sh == nil || sh.State() != shell.Hibernated {
		return true, nil
	}
	wakes, more, until := d.wakesFor(ctx)
	return wakes, func() { waitAny(ctx, changed, more, until) }
}

// wakesFor reports whether the messages that wait are enough to wake the plugin. If not, more
// is closed when there are others, and until is how long it takes for the oldest to be old
// enough, 0 if there is none.
func (d *delivery) wakesFor(ctx context.Context) (wakes bool, more <-chan struct{}, until time.Duration) {
	more, err := d.flows.Queues.Changed(ctx, d.flow.key())
	if err != nil {
		return false, nil, lastPause
	}
	waiting, err := d.flows.Queues.Stats(ctx, d.flow.key())
	config := d.flows.Config
	switch {
	case err != nil:
		return false, more, lastPause
	case waiting.Messages == 0:
		return false, more, 0
	case waiting.Messages >= int64(config.WakeMessages) || waiting.Oldest.IsZero():
		return true, nil, 0
	}
	until = time.Until(waiting.Oldest.Add(time.Duration(config.WakeAfter)))
	return until <= 0, more, until
}

// waitAny returns when one of the channels is closed, or the time is over if it is not 0, or ctx
// ends.
func waitAny(ctx context.Context, changed, more <-chan struct{}, limit time.Duration) {
	var over <-chan time.Time
	if limit > 0 {
		timer := time.NewTimer(limit)
		defer timer.Stop()
		over = timer.C
	}
	select {
	case <-changed:
	case <-more:
	case <-over:
	case <-ctx.Done():
	}
}

// deliver gives one message to the plugin and ends its stay in the queue as the answer says. It
// returns why the message went back without an attempt, empty if it did not.
func (d *delivery) deliver(ctx context.Context, t *queue.Taken) (hindered string) {
	s := d.flow.now()
	m, err := fromQueue(t.Message)
	if err != nil {
		d.noteFailure(ctx, t, outcome{lasting: err.Error()})
		return ""
	}
	results, end := []*shellpb.Message{m}, outcome{}
	if m.GetTopic() == "" || !isSource(s) { // what a source has a topic for is its plugin's own
		results, end = d.askPlugin(s, m, t.Failed+1)
	}
	switch {
	case end == outcome{}:
		return d.finish(ctx, t, results)
	case end.notAsked != "":
		t.PutBack()
		return end.notAsked
	}
	d.noteFailure(ctx, t, end)
	return ""
}

// finish takes the message out of the queue and puts the results into theirs, and tries that
// again as long as there is no room for them. It returns why the message went back.
func (d *delivery) finish(ctx context.Context, t *queue.Taken, results []*shellpb.Message) (hindered string) {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		out, err := d.flows.outgoing(d.flow.now(), t.ID, results)
		if err != nil {
			d.noteFailure(ctx, t, outcome{failed: err.Error()})
			return ""
		}
		err = t.Finish(context.WithoutCancel(ctx), out...)
		switch {
		case err == nil:
			d.flow.processed.add(1, time.Now())
			d.tellDead(out)
			return ""
		case errors.Is(err, queue.ErrGone):
			return ""
		case errors.Is(err, queue.ErrTooLong):
			d.noteFailure(ctx, t, outcome{failed: err.Error()})
			return ""
		case ctx.Err() != nil:
			t.PutBack()
			return err.Error()
		}
		d.flow.setHindrance(fmt.Sprintf("there is no room for its results: %v", err))
		waitAny(ctx, d.flows.nextChange(), nil, pause)
	}
}

// tellDead reports results that went to the dead letters of their flows.
func (d *delivery) tellDead(out []queue.Outgoing) {
	for _, o := range out {
		if o.Dead != "" {
			d.flows.tellDeadLetter(o.To, o.ID, o.Dead)
		}
	}
}

// tellDeadLetter logs and reports a message that became a dead letter of a flow.
func (f *Flows) tellDeadLetter(name, id, why string) {
	if w, err := f.find(name); err == nil {
		name = w.name
	}
	f.Log.Warn().Str("flow", name).Str("message", id).Str("why", why).Msg("a message is a dead letter: dormouse flow dead list " + name)
	f.notify("deadletter", map[string]any{"flow": name, "id": id, "why": why})
}

// noteFailure counts a failure of the message, or buries it. If that can't be written the message
// goes back, and is tried again.
func (d *delivery) noteFailure(ctx context.Context, t *queue.Taken, end outcome) {
	ctx = context.WithoutCancel(ctx)
	reason := cmp.Or(end.killed, end.lasting, end.failed)
	verdict, err := queue.Verdict{Dead: true}, error(nil)
	switch {
	case end.killed != "":
		verdict, err = t.Killed(ctx, reason)
	case end.lasting != "":
		err = t.Bury(ctx, reason)
	default:
		verdict, err = t.Fail(ctx, reason)
	}
	d.flow.failed.add(1, time.Now())
	switch {
	case errors.Is(err, queue.ErrGone):
	case err != nil:
		d.flows.Log.Error().Err(err).Str("flow", d.flow.name).Str("message", t.ID).Msg("cannot note that a message has failed; it is tried again")
		t.PutBack()
	case verdict.Dead:
		d.flows.tellDeadLetter(d.flow.key(), t.ID, reason)
	default:
		d.flows.Log.Warn().Str("flow", d.flow.name).Str("message", t.ID).Time("again", verdict.Again).Str("why", reason).Msg("the plugin could not process a message")
	}
}
