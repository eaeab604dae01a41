package supervisor

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/shell"
)

// keeping gives the host a store.
func keeping(path string) func(*Options) {
	return func(o *Options) {
		s, err := store.Open(path, store.Options{})
		if err != nil {
			panic(err)
		}
		o.Store = s
	}
}

// closing closes the store of a host that keeping made, once the host has ended.
func (r *rig) closing() {
	r.Cleanup(func() {
		if err := r.options.Store.Close(); err != nil {
			r.Error(err)
		}
	})
}

func withRestart(p configs.RestartPolicy) func(*Options) {
	return func(o *Options) {
		for i := range o.Plugins {
			o.Plugins[i].Restart = configs.Restart{Policy: p, Limit: 3, Window: configs.Duration(time.Minute), Backoff: configs.Duration(time.Second)}
		}
	}
}

// crash ends the plugin by itself and waits for all that follows at once.
func (r *rig) crash(callsign string, status int) {
	r.Helper()
	r.plugins[callsign].Sink.Exited(&shell.ExitError{Status: status})
	synctest.Wait()
}

// pass lets time pass and what is due happen.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func (r *rig) expectRestarts(callsign string, count int, givenUp, planned bool) {
	r.Helper()
	got := r.RestartStatus(callsign)
	if got.Count != count || got.GivenUp != givenUp || !got.Next.IsZero() != planned {
		r.Errorf("%s has %+v, want %d restarts, given up %v, one planned %v", callsign, got, count, givenUp, planned)
	}
}

func TestRestartsUntilGivenUp(t *testing.T) {
	runWith(t, []instance{{"A", configs.StartActivated, 50, nil}}, withRestart(configs.RestartOnFailure), func(r *rig) {
		r.Start(r.Context())
		r.expectRestarts("A", 0, false, false)
		pause := time.Second
		for n := 1; n <= 3; n++ {
			r.crash("A", 1)
			r.expectState("A", shell.Deactivated, shell.Failure)
			r.expectRestarts("A", n, false, true)
			if next := time.Until(r.RestartStatus("A").Next); next < pause || next > pause*5/4 {
				r.Errorf("restart %d is due in %s, want %s or a little more", n, next, pause)
			}
			pass(pause - time.Millisecond)
			r.expectState("A", shell.Deactivated, shell.Failure)
			pass(pause/4 + 2*time.Millisecond)
			r.expectState("A", shell.Activated, shell.Automatic)
			r.expectRestarts("A", n, false, false)
			pause *= 2
		}
		r.crash("A", 1)
		r.expectRestarts("A", 3, true, false)
		if err := r.shell("A").Status().Err; !errors.Is(err, shell.ErrExited) || !strings.Contains(err.Error(), "given up after 3 restarts within 1m0s") {
			r.Errorf("the status says %v", err)
		}
		pass(time.Hour)
		r.expectState("A", shell.Deactivated, shell.Failure)
		r.expectRestarts("A", 0, true, false)

		r.activate("A")
		r.expectRestarts("A", 0, false, false)
		r.crash("A", 1)
		pass(2 * time.Second)
		r.expectState("A", shell.Activated, shell.Automatic)
	})
}

// A run of one window makes what was before forgotten.
func TestRestartsOfAStablePlugin(t *testing.T) {
	runWith(t, []instance{{"A", configs.StartActivated, 50, nil}}, withRestart(configs.RestartAlways), func(r *rig) {
		r.Start(r.Context())
		for range 10 {
			r.crash("A", 0)
			if next := time.Until(r.RestartStatus("A").Next); next > 5*time.Second/4 {
				r.Errorf("it is due in %s", next)
			}
			pass(time.Minute + 5*time.Second)
			r.expectState("A", shell.Activated, shell.Automatic)
			r.expectRestarts("A", 0, false, false)
		}
	})
}

func TestRestartPolicies(t *testing.T) {
	exited := func(status int) func(*rig) { return func(r *rig) { r.crash("A", status) } }
	deactivated := func(why shell.Reason) func(*rig) {
		return func(r *rig) {
			if err := r.shell("A").Deactivate(r.Context(), why); err != nil {
				r.Fatal(err)
			}
		}
	}
	ends := map[string]func(*rig){
		"exit 0":  exited(0),
		"exit 1":  exited(1),
		"signal":  func(r *rig) { r.plugins["A"].Sink.Exited(&shell.ExitError{Signal: 9}); synctest.Wait() },
		"unknown": func(r *rig) { r.plugins["A"].Sink.Exited(shell.ErrExited); synctest.Wait() },
		"memory":  deactivated(shell.MemoryExceeded), "watchdog": deactivated(shell.WatchdogExpired),
		"requested": deactivated(shell.Requested), "conditions": deactivated(shell.Conditions), "automatic": deactivated(shell.Automatic),
	}
	for p, restarted := range map[configs.RestartPolicy]string{
		configs.RestartNever:     "",
		configs.RestartOnFailure: "exit 1, signal, unknown, memory, watchdog",
		configs.RestartAlways:    "exit 0, exit 1, signal, unknown, memory, watchdog",
	} {
		for name, end := range ends {
			t.Run(string(p)+" "+name, func(t *testing.T) {
				runWith(t, []instance{{"A", configs.StartActivated, 50, nil}}, withRestart(p), func(r *rig) {
					r.Start(r.Context())
					end(r)
					pass(10 * time.Second)
					want := shell.Deactivated
					for one := range strings.SplitSeq(restarted, ", ") {
						if one == name {
							want = shell.Activated
						}
					}
					if got := r.shell("A").State(); got != want {
						r.Errorf("it is %s, want %s", got, want)
					}
				})
			})
		}
	}
}

// Any operation that a caller requests cancels the planned restart.
func TestRestartIsDropped(t *testing.T) {
	for name, test := range map[string]struct {
		ask  func(r *rig) error
		want shell.State
		why  shell.Reason
	}{
		"deactivate":  {func(r *rig) error { return r.shell("A").Deactivate(r.Context(), shell.Requested) }, shell.Deactivated, shell.Failure},
		"unavailable": {func(r *rig) error { return r.shell("A").MakeUnavailable(r.Context(), shell.Requested) }, shell.Unavailable, shell.Requested},
		"activate":    {func(r *rig) error { return r.shell("A").Activate(r.Context(), shell.Requested) }, shell.Activated, shell.Requested},
	} {
		t.Run(name, func(t *testing.T) {
			runWith(t, []instance{{"A", configs.StartActivated, 50, nil}}, withRestart(configs.RestartAlways), func(r *rig) {
				r.Start(r.Context())
				r.crash("A", 1)
				r.expectRestarts("A", 1, false, true)
				if err := test.ask(r); err != nil {
					r.Fatal(err)
				}
				r.journal.read()
				if next := r.RestartStatus("A").Next; !next.IsZero() {
					r.Errorf("one is due at %s", next)
				}
				pass(time.Minute)
				r.expectState("A", test.want, test.why)
				if lines := r.journal.read(); lines != nil {
					r.Errorf("it was asked for %q", lines)
				}
			})
		})
	}
}

// A restart that fails counts as one.
func TestRestartThatFails(t *testing.T) {
	runWith(t, []instance{{"A", configs.StartActivated, 50, nil}}, withRestart(configs.RestartOnFailure), func(r *rig) {
		r.Start(r.Context())
		r.plugins["A"].fails = errors.New("no license")
		r.journal.read()
		r.crash("A", 1)
		pass(time.Minute)
		r.expect("launch A", "launch A", "launch A")
		r.expectState("A", shell.Deactivated, shell.InstantiationFailed)
		if err := r.shell("A").Status().Err; !strings.Contains(err.Error(), "no license; given up after 3 restarts") {
			r.Errorf("the status says %v", err)
		}
		// A requested activation that fails is not repeated.
		if err := r.shell("A").Activate(r.Context(), shell.Requested); err == nil {
			r.Error("it is active")
		}
		pass(time.Minute)
		r.expect("launch A")
	})
}

func TestStopDropsRestarts(t *testing.T) {
	runWith(t, []instance{{"A", configs.StartActivated, 50, nil}}, withRestart(configs.RestartAlways), func(r *rig) {
		r.Start(r.Context())
		r.crash("A", 1)
		r.journal.read()
		r.Stop(context.Background())
		pass(time.Minute)
		r.expect("end Second, shutdown", "end First, shutdown")
	})
}

// How often a plugin was restarted outlives the host.
func TestRestartsAreKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "store.db")
	options := func(o *Options) { keeping(path)(o); withRestart(configs.RestartOnFailure)(o) }
	instances := []instance{{"A", configs.StartActivated, 50, nil}, {"B", configs.StartActivated, 50, nil}}
	runWith(t, instances, options, func(r *rig) {
		r.closing()
		r.Start(r.Context())
		for _, pause := range []time.Duration{2 * time.Second, 3 * time.Second} {
			r.crash("A", 1)
			pass(pause)
		}
		r.expectState("A", shell.Activated, shell.Automatic)
	})
	runWith(t, instances, options, func(r *rig) {
		r.closing()
		r.Start(r.Context())
		r.expectRestarts("A", 2, false, false)
		r.expectRestarts("B", 0, false, false)
		r.crash("A", 1)
		pass(6 * time.Second)
		r.expectState("A", shell.Activated, shell.Automatic)
		r.crash("A", 1)
		r.expectRestarts("A", 3, true, false)
	})
	runWith(t, instances, options, func(r *rig) {
		r.closing()
		r.expectRestarts("A", 3, true, false)
		r.Start(r.Context())
		r.expectRestarts("A", 3, false, false)
		r.crash("A", 1)
		r.expectRestarts("A", 3, true, false)
		r.activate("A")
		synctest.Wait()
	})
	runWith(t, instances, options, func(r *rig) {
		r.closing()
		r.expectRestarts("A", 0, false, false)
	})
}

func TestClockSetBack(t *testing.T) {
	p := configs.Restart{Window: configs.Duration(time.Minute)}
	now := time.Now()
	times := []time.Time{now.Add(-2 * time.Minute), now.Add(-time.Second), now.Add(time.Minute), now.AddDate(1, 0, 0)}
	if got := restartsWithinWindow(times, p); len(got) != 2 || !got[0].Equal(times[1]) || !got[1].Equal(times[2]) {
		t.Errorf("got %v", got)
	}
}
