package monitor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"dormouse/configs"
	"dormouse/shell"
	"dormouse/supervisor"
)

// The events of a plugin that fails.
var (
	failed    = []string{"Net deactivated, failure"}
	restarted = []string{
		"Net deactivated, failure",
		`Monitor.action{"callsign":"Net","action":"Activate","reason":"Automatic"}`,
		`Monitor.statuschanged{"callsign":"Net","action":"Activated"}`,
		"Net activated, automatic",
	}
	givenUp = func(attempts string) []string {
		return []string{
			"Net deactivated, failure",
			`Monitor.action{"callsign":"Net","action":"StoppedRestaring","reason":"` + attempts + ` attempts failed within the restart window"}`,
			`Monitor.statuschanged{"callsign":"Net","action":"RestartingStopped"}`,
		}
	}
)

func TestRestarts(t *testing.T) {
	run(t, `{"observables": [{"callsign": "Net", "restart": {"window": 60, "limit": 3}}]}`, nil, func(r *rig) {
		for range 3 {
			r.crash("Net")
			r.expect(restarted...)
		}
		r.crash("Net")
		r.expect(givenUp("3")...)
		r.pass(time.Hour)
		r.expect()

		r.must(r.shell("Net").Activate(r.Context(), shell.Requested))
		r.expect("Net activated, requested")
		r.crash("Net")
		r.expect(restarted...)

		r.crash("Tuner") // which nobody watches
		r.expect("Tuner deactivated, failure")
	})
}

func TestRestartsInSlidingWindow(t *testing.T) {
	run(t, `{"observables": [{"callsign": "Net", "restart": {"window": 60, "limit": 2}}]}`, nil, func(r *rig) {
		for _, pause := range []time.Duration{0, 40, 20, 40, 20, 60} { // never three in 60 seconds
			r.pass(pause * time.Second)
			r.crash("Net")
			r.expect(restarted...)
		}
		r.pass(59 * time.Second)
		r.crash("Net")
		r.expect(restarted...)
		r.pass(999 * time.Millisecond)
		r.crash("Net")
		r.expect(givenUp("2")...)
	})
}

func TestRestartsWithoutLimit(t *testing.T) {
	run(t, `{"observables": [{"callsign": "Net", "restart": {"window": 60, "limit": 0}}]}`, nil, func(r *rig) {
		for range 100 {
			r.crash("Net")
			r.expect(restarted...)
		}
	})
}

func TestRestartsWithoutWindow(t *testing.T) {
	run(t, `{"observables": [{"callsign": "Net", "restart": {"window": 0, "limit": 2}}]}`, nil, func(r *rig) {
		for range 2 {
			r.crash("Net")
			r.expect(restarted...)
			r.pass(24 * time.Hour)
		}
		r.crash("Net")
		r.expect(givenUp("2")...)

		r.must(r.shell("Net").Activate(r.Context(), shell.Requested))
		r.expect("Net activated, requested")
		r.crash("Net") // which begins a new count
		r.expect(restarted...)
	})
}

func TestNoRestart(t *testing.T) {
	const restart = `"restart": {"window": 60, "limit": 3}`
	t.Run("it has a policy of its own", func(t *testing.T) {
		own := func(c *configs.Plugin) { c.Restart.Policy = configs.RestartOnFailure }
		run(t, `{"observables": [{"callsign": "Net", `+restart+`}]}`, own, func(r *rig) {
			r.crash("Net")
			for _, line := range r.heard.read() { // what the policy does is not said here
				if strings.HasPrefix(line, "Monitor.") {
					t.Error(line)
				}
			}
		})
	})
	t.Run("no limits", func(t *testing.T) {
		run(t, `{"observables": [{"callsign": "Net", "operational": 5}]}`, nil, func(r *rig) {
			r.crash("Net")
			r.expect(failed...)
		})
	})
	t.Run("it is only observed", func(t *testing.T) {
		run(t, `{"observables": [{"callsign": "Net", "operational": -5, `+restart+`}]}`, nil, func(r *rig) {
			r.crash("Net")
			r.expect(failed...)
		})
	})
	t.Run("somebody ended it", func(t *testing.T) {
		run(t, `{"observables": [{"callsign": "Net", `+restart+`}]}`, nil, func(r *rig) {
			r.must(r.shell("Net").Deactivate(r.Context(), shell.Requested))
			synctest.Wait()
			r.expect("Net deactivated, requested")
		})
	})
	t.Run("it can't be started", func(t *testing.T) {
		run(t, `{"observables": [{"callsign": "Net", `+restart+`}]}`, nil, func(r *rig) {
			r.plugins["Net"].change(func(p *plugin) { p.fails = shell.ErrInstantiation })
			r.crash("Net")
			r.expect(append(restarted[:3:3], "Net deactivated, instantiation failed")...)
		})
	})
	t.Run("it can't be woken", func(t *testing.T) {
		stay := func(c *configs.Plugin) { c.OnFailedWake = configs.FailedWakeDeactivate }
		run(t, `{"observables": [{"callsign": "Net", `+restart+`}]}`, stay, func(r *rig) {
			r.must(r.shell("Net").Hibernate(r.Context(), shell.Requested, 0))
			r.plugins["Net"].change(func(p *plugin) { p.fails = shell.ErrExited })
			if err := r.shell("Net").Activate(r.Context(), shell.Requested); !errors.Is(err, shell.ErrExited) {
				r.Errorf("got %v, want ErrExited", err)
			}
			synctest.Wait()
			r.expect("Net hibernated, requested",
				`Controller.lost{"callsign":"Net","at":"2000-01-01T00:00:00Z","class":"untrusted","generation":1,"until":"2000-01-01T01:00:00Z"}`,
				"Net deactivated, failure")
		})
	})
	t.Run("the Monitor was ended", func(t *testing.T) {
		run(t, `{"observables": [{"callsign": "Net", `+restart+`}]}`, nil, func(r *rig) {
			r.must(r.shell("Monitor").Deactivate(r.Context(), shell.Requested))
			r.crash("Net")
			r.expect(append([]string{"Monitor deactivated, requested"}, failed...)...)
		})
	})
}

func TestMemoryLimit(t *testing.T) {
	run(t, `{"observables": [{"callsign": "Net", "memory": 5, "memorylimit": 1, "restart": {"window": 60, "limit": 1}}]}`, nil, func(r *rig) {
		r.pass(4 * time.Second)
		r.expect()
		ended := []string{
			`Monitor.action{"callsign":"Net","action":"Deactivate","reason":"MemoryExceeded"}`,
			`Monitor.statuschanged{"callsign":"Net","action":"Deactivated","reason":"ExceededMemory"}`,
			"Net deactivated, memory exceeded",
		}
		r.pass(time.Second)
		r.expect(append(ended[:3:3], restarted[1:]...)...)
		r.pass(5 * time.Second)
		r.expect(append(ended[:3:3], givenUp("1")[1:]...)...)
		if got := r.statistics("Net"); got.Count != 2 || got.Operational {
			r.Errorf("measured %+v", got)
		}
		r.pass(time.Hour)
		r.expect()
	})
}

func TestMeasurements(t *testing.T) {
	run(t, `{"observables": [{"callsign": "Net", "memory": 5, "memorylimit": 4294967295}]}`, nil, func(r *rig) {
		if got := r.statistics("Net"); got != (statistics{Operational: true}) {
			r.Errorf("measured %+v before the first time", got)
		}
		r.pass(20 * time.Second)
		got := r.statistics("Net")
		if got.Count != 4 || !got.Operational {
			r.Errorf("measured %+v", got)
		}
		for name, s := range map[string]summary{"resident": got.Resident, "allocated": got.Allocated, "shared": got.Shared, "process": got.Process} {
			if s.Min <= 0 || s.Min > s.Average || s.Average > s.Max || s.Last < s.Min || s.Last > s.Max {
				r.Errorf("%s is %+v", name, s)
			}
		}
		r.expect()
	})
}

func TestHealth(t *testing.T) {
	const act = `{"observables": [{"callsign": "Net", "operational": 1}]}`
	ended := []string{
		`Monitor.action{"callsign":"Net","action":"Deactivate","reason":"Failure"}`,
		`Monitor.statuschanged{"callsign":"Net","action":"Deactivated","reason":"NotOperational"}`,
		"Net deactivated, failure",
	}
	t.Run("well", func(t *testing.T) {
		run(t, act, nil, func(r *rig) {
			r.pass(10 * time.Second)
			r.expect()
			if got := r.plugins["Net"].checked(); got != 10 {
				r.Errorf("it was asked %d times", got)
			}
		})
	})
	t.Run("unwell", func(t *testing.T) {
		run(t, act, nil, func(r *rig) {
			r.plugins["Net"].change(func(p *plugin) { p.health = healthpb.HealthCheckResponse_NOT_SERVING })
			r.pass(time.Second)
			r.expect(ended...)
			r.pass(time.Minute)
			r.expect()
			if r.statistics("Net").Operational {
				r.Error("it is operational")
			}

			r.must(r.shell("Net").Activate(r.Context(), shell.Requested))
			if !r.statistics("Net").Operational {
				r.Error("started again, it is not operational before it was asked")
			}
		})
	})
	t.Run("silent", func(t *testing.T) {
		run(t, act, nil, func(r *rig) {
			r.plugins["Net"].change(func(p *plugin) { p.silent = true })
			r.pass(time.Second + healthLimit - time.Millisecond)
			r.expect()
			r.pass(time.Millisecond)
			r.expect(ended...)
			if got := r.plugins["Net"].checked(); got != 1 {
				r.Errorf("it was asked %d times at once", got)
			}
		})
	})
	t.Run("only observed", func(t *testing.T) {
		run(t, `{"observables": [{"callsign": "Net", "operational": -1}]}`, nil, func(r *rig) {
			r.plugins["Net"].change(func(p *plugin) { p.health = healthpb.HealthCheckResponse_NOT_SERVING })
			r.pass(time.Second)
			if r.statistics("Net").Operational {
				r.Error("it is operational")
			}
			r.plugins["Net"].change(func(p *plugin) { p.health = healthpb.HealthCheckResponse_SERVING })
			r.pass(time.Second)
			if !r.statistics("Net").Operational {
				r.Error("it is not operational")
			}
			r.expect()
		})
	})
}

// TestSlowOneDelaysNobody has one plugin that keeps silent about its health.
func TestSlowOneDelaysNobody(t *testing.T) {
	run(t, `{"observables": [
		{"callsign": "Net", "memory": 1, "operational": -1}, {"callsign": "Tuner", "memory": 1, "operational": 1}
	]}`, nil, func(r *rig) {
		r.plugins["Net"].change(func(p *plugin) { p.silent = true })
		r.pass(60 * time.Second)
		if net, tuner := r.statistics("Net").Count, r.statistics("Tuner").Count; net != 60 || tuner != 60 {
			r.Errorf("measured %d and %d times", net, tuner)
		}
		if net, tuner := r.plugins["Net"].checked(), r.plugins["Tuner"].checked(); net > 12 || tuner != 60 {
			r.Errorf("asked %d and %d times", net, tuner)
		}
	})
}

func TestHibernatedIsLeftAlone(t *testing.T) {
	run(t, `{"observables": [{"callsign": "Net", "memory": 1, "memorylimit": 4294967295, "operational": 1}]}`, nil, func(r *rig) {
		r.pass(3 * time.Second)
		r.must(r.shell("Net").Hibernate(r.Context(), shell.Requested, 0))
		before := r.plugins["Net"].looks.Load()
		r.pass(time.Hour)
		if after := r.plugins["Net"].looks.Load(); after != before {
			r.Errorf("it was looked at %d times", after-before)
		}
		r.expect("Net hibernated, requested")
		if got := r.statistics("Net"); got.Count != 3 || got.Operational || r.plugins["Net"].checked() != 3 {
			r.Errorf("measured %+v, asked %d times", got, r.plugins["Net"].checked())
		}

		r.must(r.shell("Net").Activate(r.Context(), shell.Requested))
		r.pass(2 * time.Second)
		r.expect("Net activated, requested")
		if got := r.statistics("Net"); got.Count != 5 || !got.Operational || r.plugins["Net"].checked() != 5 {
			r.Errorf("after a wake: measured %+v, asked %d times", got, r.plugins["Net"].checked())
		}
	})
}

// TestHibernationDuringCheck hibernates a plugin that owes an answer.
func TestHibernationDuringCheck(t *testing.T) {
	run(t, `{"observables": [{"callsign": "Net", "operational": 1}]}`, nil, func(r *rig) {
		r.plugins["Net"].change(func(p *plugin) { p.silent = true })
		r.pass(time.Second)
		r.plugins["Net"].change(func(p *plugin) { p.silent = false })
		hibernated := make(chan error, 1)
		go func() { hibernated <- r.shell("Net").Hibernate(context.Background(), shell.Requested, 0) }()
		r.must(<-hibernated)
		r.pass(time.Hour)
		if got := r.shell("Net").State(); got != shell.Hibernated {
			r.Errorf("it is %s", got)
		}
		_ = r.plugins["Net"].EndWithoutWake(r.Context())
	})
}

// TestStopAwaitsRestart ends the Monitor while it starts a plugin.
func TestStopAwaitsRestart(t *testing.T) {
	run(t, `{"observables": [{"callsign": "Net", "memory": 1, "restart": {"window": 60, "limit": 3}}]}`, nil, func(r *rig) {
		held := make(chan struct{})
		r.plugins["Net"].change(func(p *plugin) { p.held = held })
		r.crash("Net")
		ended := make(chan error, 1)
		go func() { ended <- r.shell("Monitor").Deactivate(context.Background(), shell.Requested) }()
		synctest.Wait()
		if len(ended) != 0 {
			r.Error("the Monitor ended first")
		}
		close(held)
		r.must(<-ended)
		r.expect(append(restarted[:4:4], "Monitor deactivated, requested")...)

		r.must(r.shell("Monitor").Activate(r.Context(), shell.Requested))
		r.pass(time.Second)
		if got := r.statistics("Net").Count; got != 1 {
			r.Errorf("started again, it measured %d times", got)
		}
	})
}

// TestRefusedConfiguration checks what only the host's instances tell.
func TestRefusedConfiguration(t *testing.T) {
	for name, c := range map[string]struct{ configuration, want string }{
		"itself": {`{"observables": [{"callsign": "Monitor", "memory": 5}]}`, "observable Monitor: it cannot watch itself"},
		"what it needs": {
			`{"observables": [{"callsign": "Tuner", "memory": 5}, {"callsign": "Net", "memory": 5}]}`,
			"observable Net: Monitor requires it, and would be ended before it",
		},
		"not even read": {`{"observables": [{"callsign": "Net", "memry": 5}]}`, `observable Net: "memry" is unknown`},
	} {
		t.Run(name, func(t *testing.T) {
			net, between := configs.DefaultPlugin(), configs.DefaultPlugin()
			net.Callsign, between.Callsign, between.Requires = "Net", "Between", []string{"Net"}
			s := newSupervisor(t, supervisor.Options{
				Plugins: []configs.Plugin{net, between},
				Backend: func(config func() configs.Plugin, sink shell.Sink) shell.Backend {
					p := newPlugin(config, sink)
					p.Asleep = &shell.Sleep{Kind: shell.Stored}
					return p
				},
				Log: zerolog.Nop(),
			})
			own := configs.DefaultPlugin()
			own.Callsign, own.Requires = "Monitor", []string{"Between"}
			own.Configuration = table(t, c.configuration)
			m := New(s, func() configs.Plugin { return own }, nil, zerolog.Nop())
			err := m.Initialize(t.Context())
			if !errors.Is(err, shell.ErrInitialization) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
			if err := m.Stop(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
