package shell_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shelltest"
)

// TestHeldAreLetInTogether has calls arrive one after the other while the plugin
// wakes, and one more when it is awake but they have not been let in yet.
func TestHeldAreLetInTogether(t *testing.T) {
	run(t, setup{config: wakeOnCall, hibernated: true}, func(r *rig) {
		var mu sync.Mutex
		var order []string
		waking := r.fake.Hold(shelltest.Wake)
		var all sync.WaitGroup
		come := func(name string) {
			all.Go(func() {
				if err := r.Admit(r.Context(), 0); err != nil {
					r.Errorf("%s: got %v", name, err)
					return
				}
				mu.Lock()
				order = append(order, name)
				mu.Unlock()
				r.LeaveCall()
			})
			synctest.Wait()
		}
		for i := range 5 {
			come(fmt.Sprint(i))
		}
		asking := make(chan struct{})
		r.seen.tell = func(tr shell.Transition) {
			if tr.To == shell.Activated { // awake, but the operation is not over
				r.seen.tell = nil
				all.Go(func() {
					defer close(asking)
					answer, err := r.HoldCall(0)
					if answer == nil || err != nil {
						r.Errorf("a call overtakes those that wait: %v", err)
						return
					}
					if err := answer(); err != nil {
						r.Error(err)
					}
					r.LeaveCall()
				})
				<-time.After(time.Nanosecond) // it has come
			}
		}
		waking.Open()
		<-asking
		all.Wait()
		if slices.Sort(order); !slices.Equal(order, []string{"0", "1", "2", "3", "4"}) {
			r.Errorf("let in were %v", order)
		}
		if n := countOf(r.fake.TakeActions(), shelltest.Wake); n != 1 {
			r.Errorf("woken %d times", n)
		}
	})
}

func TestHeldBytes(t *testing.T) {
	run(t, setup{config: wakeOnCall, hibernated: true}, func(r *rig) {
		waking := r.fake.Hold(shelltest.Wake)
		large := shell.Call{Method: "echo", Params: []byte(strings.Repeat(" ", shell.MaxHeldBytes-1) + "1")}
		first := background(func() error { _, err := r.Invoke(r.Context(), large); return err })
		if err := r.invoke(r.Context(), ""); !errors.Is(err, shell.ErrBusy) {
			r.Errorf("got error %v, want ErrBusy", err)
		}
		ctx, cancel := context.WithCancel(r.Context())
		waking.Open()
		r.must(<-first)
		r.hibernateNow()
		waking = r.fake.Hold(shelltest.Wake)
		given := background(func() error { _, err := r.Invoke(ctx, large); return err })
		cancel()
		if err := <-given; !errors.Is(err, context.Canceled) {
			r.Errorf("got error %v, want context.Canceled", err)
		}
		again := background(func() error { return r.invoke(r.Context(), "") })
		if !pending(again) {
			r.Error("what was withdrawn still counts")
		}
		waking.Open()
		r.must(<-again)
	})
}

// TestProbesDoNotWake makes every request that does not count as use of a plugin.
func TestProbesDoNotWake(t *testing.T) {
	run(t, setup{config: wakeOnCall}, func(r *rig) {
		r.activate()
		for method, want := range map[string]bool{"echo": true, "ohce": false} {
			if got, err := r.Exists(r.Context(), method); got != want || err != nil {
				r.Errorf("%s: got %t, %v", method, got, err)
			}
		}
		r.must(r.invoke(r.Context(), ""))
		last := r.UseStatus().LastUse
		pass(time.Minute)
		_, _ = r.Exists(r.Context(), "echo")
		r.must(r.Conn().Invoke(r.Context(), "/grpc.health.v1.Health/Check", nil, nil))
		_ = r.CheckHealth(r.Context())
		r.Status()
		if got := r.UseStatus().LastUse; !got.Equal(last) {
			r.Errorf("looking counts as use: %s later", got.Sub(last))
		}
		r.hibernateNow()
		for method, want := range map[string]bool{"echo": true, "ohce": false} {
			if got, err := r.Exists(r.Context(), method); got != want || err != nil {
				r.Errorf("asleep, %s: got %t, %v", method, got, err)
			}
		}
		if _, err := r.Exists(r.Context(), "other"); !errors.Is(err, shell.ErrHibernated) {
			r.Errorf("got error %v, want ErrHibernated", err)
		}
		if err := r.Conn().Invoke(r.Context(), "/grpc.health.v1.Health/Check", nil, nil); !errors.Is(err, shell.ErrHibernated) {
			r.Errorf("got error %v, want ErrHibernated", err)
		}
		if err := r.CheckHealth(r.Context()); !errors.Is(err, shell.ErrUnavailable) {
			r.Errorf("got error %v, want ErrUnavailable", err)
		}
		r.Status()
		r.LaneStatus()
		r.UseStatus()
		r.expectActions()
		r.expect()
	})
}

// TestEachCallHasOneAnswer puts the plugin to sleep 500 times while callers call it. Each
// caller records every answer: there is one for each call, and no call is delivered twice.
func TestEachCallHasOneAnswer(t *testing.T) {
	const cycles, callers = 500, 24
	config := func(c *configs.Plugin) {
		wakeOnCall(c)
		c.CallTimeout = configs.Duration(time.Minute)
	}
	run(t, setup{config: config}, func(r *rig) {
		r.must(r.Activate(r.Context(), shell.Requested))
		var all sync.WaitGroup
		done := make(chan struct{})
		answers := make([]map[string]error, callers)
		for c := range callers {
			answers[c] = make(map[string]error)
			all.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-done:
						return
					case <-time.After(time.Duration(1+(c*7+i*13)%20) * time.Millisecond):
					}
					name := fmt.Sprintf("%d.%d", c, i)
					answers[c][name] = r.invoke(r.Context(), name)
				}
			})
		}
		for slept, tried := 0, 0; slept < cycles; tried++ {
			switch err := r.HibernateIdle(r.Context(), time.Now()); {
			case err == nil:
				slept++
			case !errors.Is(err, shell.ErrInUse) && !errors.Is(err, shell.ErrIllegalState):
				r.Fatalf("attempt %d: %v", tried, err)
			}
			pass(3 * time.Millisecond)
		}
		close(done)
		all.Wait()
		calls := 0
		for _, of := range answers {
			for name, err := range of {
				calls++
				if err != nil {
					r.Errorf("call %s: %v", name, err)
				}
				if n := r.fake.CountDeliveredCalls(name); n != 1 {
					r.Errorf("call %s was delivered %d times", name, n)
				}
			}
		}
		actions := r.fake.TakeActions()
		slept, woken := countOf(actions, shelltest.Hibernate), countOf(actions, shelltest.Wake)
		if slept != cycles || woken < cycles-1 || calls < cycles {
			r.Errorf("%d cycles, %d wakes, %d calls", slept, woken, calls)
		}
		if diff := cmp.Diff(int64(0), r.LaneStatus().Held); diff != "" {
			r.Errorf("held (-want +got):\n%s", diff)
		}
	})
}
