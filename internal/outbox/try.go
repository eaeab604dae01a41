package outbox

import (
	"context"
	"time"
)

// try is one try of the first delivery of a line.
type try struct {
	line   *line
	target string
	stored
	isSlow, isUnproven bool

	started time.Time
	stop    context.CancelCauseFunc
	answer  answer
	ended   time.Time // zero while it is under way
}

// isOver reports whether the try was answered, or stopped.
func (t *try) isOver() bool { return !t.ended.IsZero() }

// begin sends the delivery of the try, whose answer comes to d.answers.
func (d *dispatcher) begin(ctx context.Context, t *try) {
	ctx, t.stop = context.WithCancelCause(ctx)
	t.started = d.box.now()
	d.young = append(d.young, t)
	kind := d.box.kind(t.Kind)
	d.sending.Go(func() {
		result := d.sender.send(ctx, kind, t.Delivery, t.secrets, d.box.now)
		t.stop(nil)
		d.answers <- answered{t, result}
	})
}

// answered is a try with its answer.
type answered struct {
	*try
	answer answer
}

// takeAnswer frees the place of a try that has ended, and notes what is to be written.
func (d *dispatcher) takeAnswer(a answered) {
	t, l := a.try, a.line
	t.answer, t.ended = a.answer, d.box.now()
	d.places.release(t)
	l.pace = slow
	if t.ended.Sub(t.started) < slowAfter {
		l.pace = quick
	}
	d.noteProven(l)
	if t.Every > 0 {
		l.pacedUntil = t.ended.Add(t.Every)
	}
	if t.answer.verdict == abandoned {
		d.places.want(l)
		return
	}
	if t.answer.failed() {
		d.box.countFailure(t.target)
	}
	d.unsettled = append(d.unsettled, t)
}

// maxProven is how many quick lines a dispatcher knows; it forgets all before one more.
const maxProven = 1 << 16

// noteProven notes whether the line is quick, for when it has deliveries again.
func (d *dispatcher) noteProven(l *line) {
	if l.pace != quick {
		delete(d.proven, l.number)
		return
	}
	if len(d.proven) >= maxProven {
		clear(d.proven)
	}
	d.proven[l.number] = true
}

// stopSlow looks at the tries that have become slow: one whose place does not allow that is
// stopped.
func (d *dispatcher) stopSlow(now time.Time) {
	for len(d.young) > 0 && (d.young[0].isOver() || now.Sub(d.young[0].started) >= slowAfter) {
		t := d.young[0]
		d.young[0] = nil
		d.young = d.young[1:]
		if !t.isOver() && !t.isSlow && !d.places.becomeSlow(t) {
			t.stop(errAbandoned)
		}
	}
}
