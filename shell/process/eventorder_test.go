package process

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"

	"dormouse/shell"
)

// incrementAndCheckEvent calls a method of the counter many times, and fails the test
// unless the event of each call was there when the call was answered.
func (r *rig) incrementAndCheckEvent(times int) {
	r.t.Helper()
	for n := range times {
		call[any](r, "increment", "")
		if got := len(r.sink.events); got != 1 {
			r.t.Fatalf("call %d was answered with %d events before it", n+1, got)
		}
		<-r.sink.events
	}
}

func TestEventsBeforeAnswers(t *testing.T) {
	r := newRig(t, counter())
	r.activate()
	r.incrementAndCheckEvent(500)
}

// What the plugin has counted so far does not mislead a host that did not hear it.
func TestEventsBeforeAnswersAfterASleep(t *testing.T) {
	needCRIU(t)
	r := newRig(t, counter())
	r.activate()
	for range 2 {
		r.incrementAndCheckEvent(20)
		r.hibernate()
		r.wake()
		r.incrementAndCheckEvent(20)
		r.hibernate()
		r.restart()
		r.wake()
	}
	r.incrementAndCheckEvent(20)
	r.checkNothingOwed()
}

func TestEventsBeforeAnswersInEachLife(t *testing.T) {
	r := newRigWithGolden(t, counter())
	r.incrementAndCheckEvent(20)
	for range 2 {
		r.restartWarm()
		r.incrementAndCheckEvent(20)
	}
	r.checkNothingOwed()
}

// checkNothingOwed fails the test if the host has waited in vain for an event.
func (r *rig) checkNothingOwed() {
	r.t.Helper()
	if log := r.log.String(); containsAll(log, []string{"has not sent an event"}) {
		r.t.Errorf("an answer waited in vain:\n%s", log)
	}
}

// A plugin that announces what it does not send delays one answer, not more.
func TestAnnouncedEventsThatDoNotCome(t *testing.T) {
	r := newRig(t, rogue())
	r.activate()
	announce := func(sequence int) time.Duration {
		t.Helper()
		began := time.Now()
		if _, err := r.Invoke(r.contextFor(patience), shell.Call{Method: "announce", Params: fmt.Appendf(nil, `{"status":%d}`, sequence)}); err != nil {
			t.Error(err)
		}
		return time.Since(began)
	}
	if took := announce(1_000_000); took < maxEventDelay {
		t.Errorf("the first answer waited %s", took)
	}
	r.log.await(t, `"level":"warn"`, `"announced":1000000`, "the plugin has not sent an event")
	for range 3 {
		if took := announce(2_000_000); took >= maxEventDelay {
			t.Errorf("a later answer waited %s", took)
		}
	}
	call[any](r, "send", `{"status":1000000}`)
	receive(t, r.sink.events)
	if took := announce(1_000_000); took >= maxEventDelay {
		t.Errorf("an answer waited %s for an event that had come", took)
	}
}

func TestEventOrder(t *testing.T) {
	for _, test := range []struct {
		name    string
		prepare func(*eventOrder)
		after   func(*eventOrder) // while the answer waits for event 5
		wait    time.Duration
	}{
		{"no events are read", func(*eventOrder) {}, nil, 0},
		{"it has passed", func(o *eventOrder) { o.begin(0); o.notePassed(5) }, nil, 0},
		{"the stream begins after it", func(o *eventOrder) { o.begin(7) }, nil, 0},
		{"it comes", func(o *eventOrder) { o.begin(0) }, func(o *eventOrder) { o.notePassed(5) }, 100 * time.Millisecond},
		{"one that follows comes", func(o *eventOrder) { o.begin(0) }, func(o *eventOrder) { o.notePassed(9) }, 100 * time.Millisecond},
		{"an earlier one comes", func(o *eventOrder) { o.begin(0) }, func(o *eventOrder) { o.notePassed(4) }, maxEventDelay},
		{"the link ends", func(o *eventOrder) { o.begin(0) }, (*eventOrder).end, 100 * time.Millisecond},
		{"an earlier one is overdue", func(o *eventOrder) { o.begin(0); o.noteOverdue(3) }, nil, 0},
		{"the overdue one has come", func(o *eventOrder) { o.begin(0); o.noteOverdue(3); o.notePassed(3) }, nil, maxEventDelay},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				o := &eventOrder{log: zerolog.Nop()}
				test.prepare(o)
				if test.after != nil {
					time.AfterFunc(100*time.Millisecond, func() { test.after(o) })
				}
				began := time.Now()
				o.wait(t.Context(), 5)
				if got := time.Since(began); got != test.wait {
					t.Errorf("it waited %s, want %s", got, test.wait)
				}
			})
		})
	}
	t.Run("the caller goes", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			o := &eventOrder{log: zerolog.Nop()}
			o.begin(0)
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			began := time.Now()
			o.wait(ctx, 5)
			if got := time.Since(began); got != time.Millisecond {
				t.Errorf("it waited %s", got)
			}
		})
	})
}
