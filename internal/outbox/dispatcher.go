package outbox

import (
	"context"
	"errors"
	"sync"
	"time"
)

// troubledWait is how long a dispatcher waits before it uses a store again that has failed.
const troubledWait = time.Second

// dispatcher makes deliveries while one Run lasts. Its goroutine alone uses its fields, but for
// the channels.
type dispatcher struct {
	box    *Outbox
	sender *sender
	places places

	known   int64           // all deliveries up to this number were looked at
	lines   map[int64]*line // that have deliveries, by their numbers
	waiting lines
	proven  map[int64]bool // lines that were quick, by their numbers

	young   []*try // under way, in the order in which they began, until they are slow
	sending sync.WaitGroup
	answers chan answered

	unsettled []*try // whose answers are yet to be written
	settling  bool
	settled   chan settlement

	isBehind   bool      // there may be deliveries that were not looked at
	useStoreAt time.Time // after the store has failed
}

// Run makes deliveries until ctx ends. What is under way then is made again by the next Run. It
// must not be called twice at the same time.
func (o *Outbox) Run(ctx context.Context) {
	d := &dispatcher{
		box: o, sender: o.newSender(), places: newPlaces(),
		lines: make(map[int64]*line), proven: make(map[int64]bool),
		answers: make(chan answered, maxTries), settled: make(chan settlement, 1),
		isBehind: true,
	}
	d.run(ctx)
	d.finish(ctx)
}

// run makes deliveries until ctx ends.
func (d *dispatcher) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		d.proceed(ctx)
		d.setTimer(timer)
		select {
		case <-ctx.Done():
			return
		case <-d.box.wake:
			d.isBehind = true
		case a := <-d.answers:
			d.takeAnswer(a)
			d.takeMoreAnswers()
		case s := <-d.settled:
			d.takeSettlement(s)
		case <-timer.C:
		}
	}
}

// proceed does all that can be done now.
func (d *dispatcher) proceed(ctx context.Context) {
	now := d.box.now()
	d.stopSlow(now)
	for l := d.waiting.take(now); l != nil; l = d.waiting.take(now) {
		d.places.want(l)
	}
	if now.Before(d.useStoreAt) {
		return
	}
	if d.isBehind {
		d.isBehind = false
		d.note(d.readNew(ctx))
		d.hurry()
	}
	d.note(d.start(ctx))
	d.settle(ctx)
}

// note has the store left alone for a while if it has failed.
func (d *dispatcher) note(err error) {
	if err == nil || errors.Is(err, context.Canceled) { // Run ends
		return
	}
	d.box.options.Trouble(err)
	d.useStoreAt = d.box.now().Add(troubledWait)
}

// takeMoreAnswers takes the answers that are there besides.
func (d *dispatcher) takeMoreAnswers() {
	for range len(d.answers) {
		d.takeAnswer(<-d.answers)
	}
}

// setTimer sets the timer to when there is something to do by itself; to never if there is
// nothing.
func (d *dispatcher) setTimer(timer *time.Timer) {
	timer.Stop()
	var next time.Time
	atLeast := func(at time.Time) {
		if next.IsZero() || at.Before(next) {
			next = at
		}
	}
	if len(d.waiting) > 0 {
		atLeast(d.waiting[0].due)
	}
	if len(d.young) > 0 {
		atLeast(d.young[0].started.Add(slowAfter))
	}
	if now := d.box.now(); now.Before(d.useStoreAt) {
		atLeast(d.useStoreAt)
	}
	if !next.IsZero() {
		timer.Reset(max(next.Sub(d.box.now()), 0))
	}
}

// hurry has lines tried at once for which an operator has asked for that.
func (d *dispatcher) hurry() {
	for _, number := range d.box.takeHurried() {
		if l := d.lines[number]; l != nil && l.place >= 0 {
			d.waiting.remove(l)
			d.places.want(l)
		}
	}
}

// finish stops what is under way, and writes down what was answered.
func (d *dispatcher) finish(ctx context.Context) {
	d.sending.Wait() // the tries end with ctx
	d.takeMoreAnswers()
	if d.settling {
		if s := <-d.settled; s.err != nil {
			d.unsettled = append(s.tries, d.unsettled...)
		}
	}
	if len(d.unsettled) > 0 {
		if s := d.box.settle(context.WithoutCancel(ctx), d.unsettled); s.err != nil {
			d.box.options.Trouble(s.err) // they are made again
		}
	}
	d.sender.close()
}
