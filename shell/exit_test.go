package shell_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"dormouse/shell"
	"dormouse/shell/shelltest"
	"dormouse/statecontrol"
)

func TestExit(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		background(func() error { r.fake.Kill(); return nil })
		r.expect(
			"exit: activated > deactivation, failure",
			fmt.Sprintf("exit: deactivation > deactivated, failure: %v", shelltest.ErrKilled),
		)
		r.expectActions(shelltest.Stop)
		if st := r.Status(); !errors.Is(st.Err, shell.ErrExited) || st.Reason != shell.Failure {
			r.Errorf("got reason %s and error %v", st.Reason, st.Err)
		}
		if err := r.invoke(r.Context(), ""); !errors.Is(err, shell.ErrUnavailable) {
			r.Errorf("got error %v, want ErrUnavailable", err)
		}

		r.activate()
		if st := r.Status(); st.Err != nil || st.Figures.PID != 2 {
			r.Errorf("got error %v and PID %d", st.Err, st.Figures.PID)
		}
	})
}

func TestExitWhenMemoryIsExceeded(t *testing.T) {
	starved := fmt.Errorf("%w: %w", shell.ErrExited, shell.ErrMemoryExceeded)
	for name, end := range map[string]func(*rig){
		"active": func(r *rig) { background(func() error { r.fake.Sink.Exited(starved); return nil }) },
		"hibernating": func(r *rig) {
			r.fake.Fail(shelltest.Hibernate, starved)
			_ = r.Hibernate(r.Context(), shell.Requested, 0)
		},
	} {
		t.Run(name, func(t *testing.T) {
			var documented []shell.Reason
			document := func(why shell.Reason, _ error, _ func() shell.Evidence) { documented = append(documented, why) }
			run(t, setup{postMortem: document}, func(r *rig) {
				r.activate()
				end(r)
				if !slices.Equal(documented, []shell.Reason{shell.MemoryExceeded}) {
					r.Errorf("documented are %v", documented)
				}
				if st := r.Status(); st.State != shell.Deactivated || st.Reason != shell.MemoryExceeded || !errors.Is(st.Err, shell.ErrMemoryExceeded) {
					r.Errorf("got %s, %s, %v", st.State, st.Reason, st.Err)
				}
			})
		})
	}
}

// TestExitDuringOperations lets the plugin die in the middle of each operation.
func TestExitDuringOperations(t *testing.T) {
	for _, test := range []struct {
		action  string
		prepare func(*rig)
		operate func(*rig) error
		err     error
		reason  shell.Reason
	}{
		{shelltest.Launch, nil, (*rig).activateRequested, shell.ErrInstantiation, shell.InstantiationFailed},
		{shelltest.Initialize, nil, (*rig).activateRequested, shell.ErrInitialization, shell.InitializationFailed},
		{shelltest.AskState, nil, (*rig).activateRequested, nil, shell.Failure}, // too late for the activation to notice
		{"resume", (*rig).activate, func(r *rig) error { return r.Resume(r.Context(), shell.Requested) }, shell.ErrExited, shell.Failure},
		{shelltest.Hibernate, (*rig).activate, func(r *rig) error { return r.Hibernate(r.Context(), shell.Requested, 0) }, shell.ErrExited, shell.Failure},
		{shelltest.Deinitialize, (*rig).activate, func(r *rig) error { return r.Deactivate(r.Context(), shell.Requested) }, nil, shell.Requested},
		{shelltest.Stop, (*rig).activate, func(r *rig) error { return r.Deactivate(r.Context(), shell.Requested) }, nil, shell.Requested},
		{shelltest.Wake, func(r *rig) { r.activate(); r.hibernateNow() }, (*rig).activateRequested, shell.ErrExited, shell.Failure},
	} {
		t.Run(test.action, func(t *testing.T) {
			run(t, setup{config: deactivateOnFailedWake}, func(r *rig) {
				if test.prepare != nil {
					test.prepare(r)
				}
				held := r.fake.Hold(test.action)
				done := background(func() error { return test.operate(r) })
				<-held.Reached
				background(func() error { r.fake.Kill(); return nil })
				held.Open()
				if err := <-done; !errors.Is(err, test.err) {
					r.Errorf("got error %v, want %v", err, test.err)
				}
				background(func() error { return nil }) // the exit has its turn
				if st := r.Status(); st.State != shell.Deactivated || st.Reason != test.reason {
					r.Errorf("got %s, %s; want deactivated, %s", st.State, st.Reason, test.reason)
				}
				if r.fake.HasProcess() {
					r.Error("what was left of the process was not cleared away")
				}
			})
		})
	}
}

func (r *rig) activateRequested() error { return r.Activate(r.Context(), shell.Requested) }

// TestExitOfAnEarlierProcess lets the report of an exit wait until another
// process runs.
func TestExitOfAnEarlierProcess(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		held := r.fake.Hold(shelltest.Deinitialize)
		down := background(func() error { return r.Deactivate(r.Context(), shell.Requested) })
		up := background(r.activateRequested)
		background(func() error { r.fake.Kill(); return nil })
		held.Open()
		r.must(<-down)
		r.must(<-up)
		background(func() error { return nil })
		r.expect(
			"deactivate: activated > deactivation, requested",
			"deactivate: deactivation > deactivated, requested",
			"activate: deactivated > activation, requested",
			"suspend: activation is suspended, requested",
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
		r.fake.Hold(shelltest.Hibernate) // a minute
		r.fake.Hold("resume")            // half a minute
		asleep := background(func() error { return r.Hibernate(r.Context(), shell.Requested, 0) })
		resumed := background(func() error { return r.Resume(r.Context(), shell.Requested) })
		background(func() error { r.fake.Kill(); return nil })
		for _, done := range []<-chan error{asleep, resumed} {
			if err := <-done; !errors.Is(err, shell.ErrTimedOut) {
				r.Errorf("got error %v, want ErrTimedOut", err)
			}
		}
		background(func() error { return nil })
		if st := r.Status(); st.State != shell.Deactivated || st.Reason != shell.Failure {
			r.Errorf("got %s, %s; want deactivated, failure", st.State, st.Reason)
		}
	})
}

func TestLateControlReportIsIgnored(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		held := r.fake.Hold(shelltest.Deinitialize)
		down := background(func() error { return r.Deactivate(r.Context(), shell.Requested) })
		r.fake.Control.ChangeByItself(statecontrol.Resumed)
		held.Open()
		r.must(<-down)
		r.fake.Control.ChangeByItself(statecontrol.Suspended)
		r.forgetSoFar()
		if st := r.Status(); st.Control != "" {
			r.Errorf("got control %s", st.Control)
		}
		r.must(r.Deactivate(context.Background(), shell.Shutdown))
		r.expect()
	})
}

func TestNotification(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.activate()
		r.fake.Sink.Notify(shell.Notification{Event: "ticked"})
		if len(r.seen.notes) != 1 || r.seen.notes[0].Event != "ticked" {
			r.Errorf("got %v", r.seen.notes)
		}
	})
}
