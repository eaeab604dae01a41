package shell_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/shell"
	"dormouse/shell/shelltest"
	"dormouse/statecontrol"
)

func TestLaneTakesTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := shell.NewLane("Test")
		release := make(chan struct{})
		var all sync.WaitGroup
		var order []int // unguarded: whoever has the turn is alone
		for i := range 50 {
			event := allEvents[i%2] // no two in a row are the same
			all.Go(func() {
				_ = l.Run(t.Context(), event, func() error {
					<-release
					order = append(order, i)
					return nil
				})
			})
			synctest.Wait()
		}
		close(release)
		all.Wait()
		if len(order) != 50 || !slices.IsSorted(order) {
			t.Errorf("got order %v", order)
		}
	})
}

func TestLaneSharesResults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := shell.NewLane("Test")
		release := make(chan struct{})
		var runs []string
		do := func(event shell.Event, name string, err error) <-chan error {
			return background(func() error {
				return l.Run(t.Context(), event, func() error {
					<-release
					runs = append(runs, name)
					return err
				})
			})
		}
		first := do(shell.Activate, "a1", errBroken)
		second := do(shell.Activate, "a2", nil) // shares with the first
		exit1 := do(shell.Exit, "e1", nil)
		exit2 := do(shell.Exit, "e2", nil) // looks for itself
		third := do(shell.Activate, "a3", nil)
		fourth := do(shell.Activate, "a4", errBroken) // shares with the third, not with the first
		down := do(shell.Deactivate, "d", nil)
		close(release)
		synctest.Wait()
		if want := []string{"a1", "e1", "e2", "a3", "d"}; !slices.Equal(runs, want) {
			t.Errorf("got runs %v, want %v", runs, want)
		}
		for name, test := range map[string]struct {
			got  <-chan error
			want error
		}{
			"first": {first, errBroken}, "second": {second, errBroken}, "third": {third, nil}, "fourth": {fourth, nil},
			"exit 1": {exit1, nil}, "exit 2": {exit2, nil}, "down": {down, nil},
		} {
			if err := <-test.got; !errors.Is(err, test.want) {
				t.Errorf("%s: got %v, want %v", name, err, test.want)
			}
		}
		// Whoever comes afterwards shares nothing.
		if err := <-do(shell.Deactivate, "d", errBroken); !errors.Is(err, errBroken) {
			t.Errorf("got %v, want %v", err, errBroken)
		}
	})
}

func TestManyActivateAtOnce(t *testing.T) {
	for _, want := range []error{nil, errBroken} {
		t.Run(fmt.Sprint(want), func(t *testing.T) {
			run(t, setup{}, func(r *rig) {
				r.fake.Fail(shelltest.Launch, want)
				held := r.fake.Hold(shelltest.Launch)
				results := make(chan error, 100)
				for range cap(results) {
					go func() { results <- r.activateRequested() }()
				}
				synctest.Wait()
				held.Open()
				for range cap(results) {
					if err := <-results; !errors.Is(err, want) {
						r.Errorf("got error %v, want %v", err, want)
					}
				}
				if n := countOf(r.fake.TakeActions(), shelltest.Launch); n != 1 {
					r.Errorf("it was launched %d times", n)
				}
			})
		})
	}
}

func countOf(actions []string, action string) (n int) {
	for _, s := range actions {
		if s == action {
			n++
		}
	}
	return n
}

func TestOperationsWaitTheirTurn(t *testing.T) {
	t.Run("activate during deactivation", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			held := r.fake.Hold(shelltest.Deinitialize)
			down := background(func() error { return r.Deactivate(r.Context(), shell.Requested) })
			up := background(r.activateRequested)
			if !pending(up) {
				r.Error("activate did not wait")
			}
			held.Open()
			r.must(<-down)
			r.must(<-up)
			r.expectActions(shelltest.Deinitialize+" requested", shelltest.Stop, shelltest.Launch, shelltest.Initialize, shelltest.AskState)
		})
	})
	t.Run("deactivate during activation", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			held := r.fake.Hold(shelltest.Initialize)
			up := background(r.activateRequested)
			down := background(func() error { return r.Deactivate(r.Context(), shell.Requested) })
			again := background(r.activateRequested) // comes after the deactivation, so it must not share with the first
			held.Open()
			r.must(<-up)
			r.must(<-down)
			r.must(<-again)
			if got := r.State(); got != shell.Activated {
				r.Errorf("it is %s, the last wish was activated", got)
			}
			r.expectActions(shelltest.Launch, shelltest.Initialize, shelltest.AskState, shelltest.Deinitialize+" requested", shelltest.Stop, shelltest.Launch, shelltest.Initialize, shelltest.AskState)
		})
	})
	t.Run("not for ever", func(t *testing.T) {
		run(t, setup{}, func(r *rig) {
			r.activate()
			held := r.fake.Hold(shelltest.Deinitialize)
			down := background(func() error { return r.Deactivate(r.Context(), shell.Requested) })
			begun := time.Now()
			err := r.Hibernate(r.Context(), shell.Requested, time.Second)
			if took := time.Since(begun); took != time.Second || !errors.Is(err, shell.ErrInProgress) {
				r.Errorf("got %v after %s", err, took)
			}
			held.Open()
			r.must(<-down)
		})
	})
}

func TestCallerGoesAway(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		ctx, cancel := context.WithCancel(r.Context())
		held := r.fake.Hold("resume")
		resumed := background(func() error { return r.Resume(ctx, shell.Requested) })
		waits := background(func() error { return r.Deactivate(ctx, shell.Requested) })
		cancel()
		synctest.Wait()
		if err := <-waits; !errors.Is(err, shell.ErrInProgress) {
			r.Errorf("got error %v, want ErrInProgress", err)
		}
		if !pending(resumed) {
			r.Error("the operation was abandoned")
		}
		held.Open()
		r.must(<-resumed)
		if st := r.Status(); st.State != shell.Activated || st.Control != statecontrol.Resumed {
			r.Errorf("got %s, %s", st.State, st.Control)
		}
		// Nothing is in progress: not waiting is no reason to refuse.
		for range 20 {
			r.must(r.Activate(ctx, shell.Requested))
		}
	})
}

// Who looks sees what runs, what waits and in which order.
func TestLaneStatus(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		held := r.fake.Hold(shelltest.Deinitialize)
		down := background(func() error { return r.Deactivate(r.Context(), shell.Requested) })
		synctest.Wait()
		up := background(r.activateRequested)
		synctest.Wait()
		gone := background(func() error { return r.MakeUnavailable(r.Context(), shell.Requested) })
		synctest.Wait()
		want := shell.LaneStatus{Running: shell.Deactivate, Runs: 1, Waiting: []shell.Event{shell.Activate, shell.MakeUnavailable}}
		if diff := cmp.Diff(want, r.LaneStatus()); diff != "" {
			r.Errorf("while it ends (-want +got):\n%s", diff)
		}
		held.Open()
		r.must(<-down)
		r.must(<-up)
		if err := <-gone; !errors.Is(err, shell.ErrIllegalState) {
			r.Errorf("got %v", err)
		}
		if diff := cmp.Diff(shell.LaneStatus{Runs: 4, Waiting: []shell.Event{}}, r.LaneStatus()); diff != "" {
			r.Errorf("afterwards (-want +got):\n%s", diff)
		}
	})
}
