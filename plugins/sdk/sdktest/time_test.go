package sdktest_test

import (
	"context"
	"testing"
	"time"

	"dormouse/plugins/sdk"
	"dormouse/plugins/sdk/sdktest"
)

// clock is what a Go program sees of time that passes.
type clock struct {
	Ticks           int // of a ticker with an interval of tick
	Expired         bool
	Remaining       time.Duration // of its deadline, as the context has it
	Monotonic, Wall time.Duration // since it was set going
}

const (
	tick     = 10 * time.Millisecond
	deadline = time.Second
)

// timeMethods let a test see what becomes of Go's timers in a sleep.
func (p *parrot) timeMethods() sdk.Methods {
	var read func() clock
	return sdk.Methods{
		"start clock": sdk.Method(func(context.Context, struct{}) (any, error) {
			read = p.startClock() //nolint:contextcheck // it goes on when the call has ended
			return nil, nil
		}),
		"read clock": sdk.Method(func(context.Context, struct{}) (clock, error) { return read(), nil }),
	}
}

func (p *parrot) startClock() (read func() clock) {
	began := time.Now()
	limited, cancel := context.WithTimeout(p.life, deadline)
	ticks := make(chan int, 1)
	ticks <- 0
	p.background.Go(func() {
		defer cancel()
		ticker := time.NewTicker(tick)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				ticks <- 1 + <-ticks
			case <-limited.Done():
				p.in.Emit("expired", time.Since(began))
				return
			}
		}
	})
	return func() clock {
		n := <-ticks
		ticks <- n
		end, _ := limited.Deadline()
		return clock{ // in this order, so that what passes between two readings excuses nothing
			Ticks: n, Expired: limited.Err() != nil, Remaining: time.Until(end),
			Monotonic: time.Since(began), Wall: time.Now().Round(0).Sub(began.Round(0)),
		}
	}
}

// TestTimeStandsStill has a Go plugin sleep for longer than its deadline: monotonic
// time, and with it tickers, timers and contexts, goes on where it stopped. Only the
// wall clock has moved.
func TestTimeStandsStill(t *testing.T) {
	h := sdktest.Start(t, options)
	h.Hibernate() // or skip
	h.Wake()
	if err := h.Call("start clock", nil, nil); err != nil {
		t.Fatal(err)
	}
	h.Hibernate()
	asleep := time.Now()
	<-time.After(deadline + deadline/2)
	slept := time.Since(asleep)
	h.Wake()
	var c clock
	if err := h.Call("read clock", nil, &c); err != nil {
		t.Fatal(err)
	}
	if jumped := c.Wall - c.Monotonic; jumped < slept {
		t.Errorf("it slept for %s, but its wall clock is only %s ahead", slept, jumped)
	}
	if c.Ticks > int(c.Monotonic/tick)+1 {
		t.Errorf("%d ticks of %s in %s: those of the sleep came in a burst", c.Ticks, tick, c.Monotonic)
	}
	if early := c.Monotonic < deadline; early && (c.Expired || c.Remaining < deadline-c.Monotonic) {
		t.Errorf("after %s of %s: %s remain, expired is %t", c.Monotonic, deadline, c.Remaining, c.Expired)
	}
	var after time.Duration
	if h.WaitEvent("expired", &after); after < deadline {
		t.Errorf("it expired after %s of monotonic time, its deadline was %s", after, deadline)
	}
}
