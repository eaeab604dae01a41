package shell

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"dormouse/statecontrol"
)

func TestExit(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		background(func() error { r.fake.die(); return nil })
		r.expect(
			"exit: activated > deactivation, failure",
			fmt.Sprintf("exit: deactivation > deactivated, failure: %v", errKilled),
		)
		r.expectSteps(stop)
		if st := r.Status(); !errors.Is(st.Err, ErrExited) || st.Reason != Failure {
			r.Errorf("got reason %s and error %v", st.Reason, st.Err)
		}
		if err := r.invoke(r.Context(), ""); !errors.Is(err, ErrUnavailable) {
			r.Errorf("got error %v, want ErrUnavailable", err)
		}

		r.activate()
		if st := r.Status(); st.Err != nil || st.Facts.PID != 2 {
			r.Errorf("got error %v and PID %d", st.Err, st.Facts.PID)
		}
	})
}

func TestExitForWantOfMemory(t *testing.T) {
	starved := fmt.Errorf("%w: %w", ErrExited, ErrMemoryExceeded)
	for name, end := range map[string]func(*rig){
		"active": func(r *rig) { background(func() error { r.fake.sink.Exited(starved); return nil }) },
		"hibernating": func(r *rig) {
			r.fake.fail(hibernation, starved)
			_ = r.Hibernate(r.Context(), Requested, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var documented []Reason
			document := func(why Reason, _ error, _ func() Evidence) { documented = append(documented, why) }
			run(t, setup{document: document}, func(r *rig) {
				r.activate()
				end(r)
				if !slices.Equal(documented, []Reason{MemoryExceeded}) {
					r.Errorf("documented are %v", documented)
				}
				if st := r.Status(); st.State != Deactivated || st.Reason != MemoryExceeded || !errors.Is(st.Err, ErrMemoryExceeded) {
					r.Errorf("got %s, %s, %v", st.State, st.Reason, st.Err)
				}
			})
		})
	}
}

// TestExitDuringOperations lets the plugin die in the middle of each operation.
func TestExitDuringOperations(t *testing.T) {
	for _, test := range []struct {
		step    string
		prepare func(*rig)
		operate func(*rig) error
		err     error
		reason  Reason
	}{
		{launch, nil, (*rig).up, ErrInstantiation, InstantiationFailed},
		{initialize, nil, (*rig).up, ErrInitialization, InitializationFailed},
		{asking, nil, (*rig).up, nil, Failure}, // too late for the activation to notice
		{"resume", (*rig).activate, func(r *rig) error { return r.Resume(r.Context(), Requested) }, ErrExited, Failure},
		{hibernation, (*rig).activate, func(r *rig) error { return r.Hibernate(r.Context(), Requested, 0) }, ErrExited, Failure},
		{deinitialize, (*rig).activate, func(r *rig) error { return r.Deactivate(r.Context(), Requested) }, nil, Requested},
		{stop, (*rig).activate, func(r *rig) error { return r.Deactivate(r.Context(), Requested) }, nil, Requested},
		{wakening, func(r *rig) { r.activate(); r.hibernateNow() }, (*rig).up, ErrExited, Failure},
	} {
		t.Run(test.step, func(t *testing.T) {
			run(t, setup{config: deactivateOnFailedWake}, func(r *rig) {
				if test.prepare != nil {
					test.prepare(r)
				}
				held := r.fake.hold(test.step)
				done := background(func() error { return test.operate(r) })
				<-held.reached
				background(func() error { r.fake.die(); return nil })
				held.open()
				if err := <-done; !errors.Is(err, test.err) {
					r.Errorf("got error %v, want %v", err, test.err)
				}
				background(func() error { return nil }) // the exit has its turn
				if st := r.Status(); st.State != Deactivated || st.Reason != test.reason {
					r.Errorf("got %s, %s; want deactivated, %s", st.State, st.Reason, test.reason)
				}
				if r.fake.remains() {
					r.Error("what was left of the process was not cleared away")
				}
			})
		})
	}
}

func (r *rig) up() error { return r.Activate(r.Context(), Requested) }

// TestExitOfAnEarlierProcess lets the report of an exit wait until another
// process runs.
func TestExitOfAnEarlierProcess(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		held := r.fake.hold(deinitialize)
		down := background(func() error { return r.Deactivate(r.Context(), Requested) })
		up := background(r.up)
		background(func() error { r.fake.die(); return nil })
		held.open()
		r.must(<-down)
		r.must(<-up)
		background(func() error { return nil })
		r.expect(
			"deactivate: activated > deactivation, requested",
			"deactivate: deactivation > deactivated, requested",
			"activate: deactivated > activation, requested",
			"suspend: activation is suspended",
			"activate: activation > activated, requested",
		)
		r.must(r.invoke(r.Context(), ""))
	})
}

// TestExitOutwaitsOperations keeps the lane busy for longer than any deadline
// of the exit.
func TestExitOutwaitsOperations(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		r.fake.hold(hibernation) // a minute
		r.fake.hold("resume")    // half a minute
		asleep := background(func() error { return r.Hibernate(r.Context(), Requested, 0) })
		resumed := background(func() error { return r.Resume(r.Context(), Requested) })
		background(func() error { r.fake.die(); return nil })
		for _, done := range []<-chan error{asleep, resumed} {
			if err := <-done; !errors.Is(err, ErrTimedOut) {
				r.Errorf("got error %v, want ErrTimedOut", err)
			}
		}
		background(func() error { return nil })
		if st := r.Status(); st.State != Deactivated || st.Reason != Failure {
			r.Errorf("got %s, %s; want deactivated, failure", st.State, st.Reason)
		}
	})
}

func TestLateNewsIsNone(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		held := r.fake.hold(deinitialize)
		down := background(func() error { return r.Deactivate(r.Context(), Requested) })
		r.fake.control.turn(statecontrol.Resumed)
		held.open()
		r.must(<-down)
		r.fake.control.turn(statecontrol.Suspended)
		r.forget()
		if st := r.Status(); st.Control != "" {
			r.Errorf("got control %s", st.Control)
		}
		r.must(r.Deactivate(context.Background(), Shutdown))
		r.expect()
	})
}

func TestNotification(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		r.fake.sink.Notify(Notification{Event: "ticked"})
		if len(r.seen.notes) != 1 || r.seen.notes[0].Event != "ticked" {
			r.Errorf("got %v", r.seen.notes)
		}
	})
}
