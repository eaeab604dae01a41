package shell_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/shell/shelltest"
)

// work is what a host does before the starts of an instance.
type work struct {
	rig   *rig
	takes time.Duration
	fails error
	done  []string // the programs before whose starts it was done
}

func (w *work) before(to configs.Plugin) func(context.Context) error {
	return func(ctx context.Context) error {
		if w.rig.fake.HasProcess() {
			w.rig.Error("the plugin runs while work is done before its start")
		}
		w.done = append(w.done, to.Executable)
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(w.takes):
			return w.fails
		}
	}
}

// Whatever leads to a start, the work before it is done first, for the configuration that is
// started. It may take longer than a start. If it fails nothing is started, and the next start
// does it again.
func TestWorkBeforeStart(t *testing.T) {
	for name, test := range map[string]struct {
		hibernated bool
		lead       func(*rig)
		start      func(*rig) error
		program    string
	}{
		"activate": {start: func(r *rig) error { return r.Activate(r.Context(), shell.Requested) }},
		"resume":   {start: func(r *rig) error { return r.Resume(r.Context(), shell.Requested) }},
		"restart":  {lead: (*rig).activate, start: func(r *rig) error { return r.Restart(r.Context(), shell.Requested) }},
		"replace": {
			lead: (*rig).activate, program: "another",
			start: func(r *rig) error { return r.Replace(r.Context(), shell.Requested, r.another(), nil) },
		},
		"a sleep that is outdated": {
			hibernated: true, lead: (*rig).outdate,
			start: func(r *rig) error { return r.ReplaceOutdated(r.Context(), shell.Automatic) },
		},
		"a cold start after a wake that failed": {
			hibernated: true, lead: func(r *rig) { r.fake.Fail(shelltest.Wake, errLasting) },
			start: func(r *rig) error { return r.Activate(r.Context(), shell.Requested) },
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := &work{}
			run(t, setup{hibernated: test.hibernated, beforeStart: w.before}, func(r *rig) {
				w.rig = r
				if test.lead != nil {
					test.lead(r)
				}
				w.done, w.takes, w.fails = nil, 9*time.Minute, errAbsent
				r.fake.TakeActions()
				if err := test.start(r); !errors.Is(err, errAbsent) || r.State() != shell.Deactivated || r.fake.HasProcess() {
					t.Errorf("it is %s with error %v", r.State(), err)
				}
				w.fails = nil
				r.must(r.Activate(r.Context(), shell.Requested))
				if len(w.done) != 2 || w.done[0] != test.program || w.done[1] != test.program || r.State() != shell.Activated {
					t.Errorf("it is %s, the work was done for %q", r.State(), w.done)
				}
				r.fake.ClearFailures()
			})
		})
	}
}

// A plugin that wakes goes on, and needs no work. A host that stops gives the work up.
func TestWorkBeforeStartIsNotDone(t *testing.T) {
	w := &work{}
	run(t, setup{hibernated: true, beforeStart: w.before}, func(r *rig) {
		w.rig = r
		r.must(r.Activate(r.Context(), shell.Requested))
		if w.done != nil {
			t.Errorf("it was done for %q", w.done)
		}
		r.must(r.Deactivate(r.Context(), shell.Requested))
		w.takes = time.Hour
		activated := background(func() error { return r.Activate(r.Context(), shell.Requested) })
		begun := time.Now()
		r.must(r.Deactivate(r.Context(), shell.Shutdown))
		synctest.Wait()
		if err := <-activated; err == nil || time.Since(begun) > 0 {
			t.Errorf("got error %v after %s", err, time.Since(begun))
		}
	})
}
