package supervisor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/shell"
	"dormouse/shell/shelltest"
)

// pluginBytes is how much memory each plugin takes.
const pluginBytes = 1000

// gauge is how short the bubble is of memory.
type gauge struct {
	mu        sync.Mutex
	available int64
	stalled   time.Duration
	tell      func()
}

// Total returns so little that one instance is enough at first.
func (g *gauge) Total() (int64, error) { return firstNeed * pluginBytes, nil }

func (g *gauge) Stalled() (time.Duration, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stalled, nil
}

// stall lets processes wait for memory for so long, and tells of it if the host listens.
func (g *gauge) stall(d time.Duration) {
	g.mu.Lock()
	g.stalled += d
	g.mu.Unlock()
	g.tell()
}

func (g *gauge) Available() (int64, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.available, nil
}

func (g *gauge) set(available int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.available = available
}

// free makes so many more bytes available.
func (g *gauge) free(bytes int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.available += bytes
}

func (g *gauge) watch(ctx context.Context, _, _ time.Duration, tell func()) error {
	g.mu.Lock()
	g.tell = tell
	g.mu.Unlock()
	<-ctx.Done()
	return nil
}

// runTiers runs test in a host of such plugins, all started with it; configure
// changes the configuration of each.
func runTiers(t *testing.T, rules configs.Tiers, configure func(*configs.Plugin), callsigns []string, test func(*rig, *gauge, map[string]*plugin)) {
	t.Helper()
	all, g := make(map[string]*plugin), &gauge{}
	var instances []instance
	for _, callsign := range callsigns {
		instances = append(instances, instance{callsign, configs.StartActivated, 50, nil})
	}
	change := func(o *Options) {
		rules.PressureSome, rules.PressureWindow = configs.Duration(150*time.Millisecond), configs.Duration(2*time.Second)
		o.AutoSleep = AutoSleep{Rules: rules, Available: g.Available, Total: g.Total, Watch: g.watch, Stalled: g.Stalled, Parallel: 2}
		for i := range o.Plugins {
			configure(&o.Plugins[i])
		}
		plain := o.Backend
		o.Backend = func(config func() configs.Plugin, sink shell.Sink) shell.Backend {
			p := plain(config, sink).(*plugin) //nolint:errcheck // a panic fails the test as well
			p.detailed = true
			p.sleeps()
			step := p.OnAction
			p.OnAction = func(ctx context.Context, action, detail string) error {
				if action == shelltest.Hibernate {
					g.free(pluginBytes)
				}
				return step(ctx, action, detail)
			}
			p.GetFigures = func() shell.ProcessFigures { return shell.ProcessFigures{PID: 1, Memory: pluginBytes} }
			all[config().Callsign] = p
			return p
		}
	}
	runWith(t, instances, change, func(r *rig) {
		r.Start(r.Context())
		synctest.Wait()
		r.journal.read()
		test(r, g, all)
	})
}

// after passes the time and expects these events since the last look, in this order.
func (r *rig) after(d time.Duration, want ...string) {
	r.Helper()
	pass(d)
	if diff := cmp.Diff(want, r.journal.read()); diff != "" {
		r.Errorf("after %s (-want +got):\n%s", d, diff)
	}
}

// afterEach is after for events that several instances take side by side: the order of
// each instance's own events counts.
func (r *rig) afterEach(d time.Duration, want ...[]string) {
	r.Helper()
	pass(d)
	byInstance := make(map[string][]string)
	for _, event := range r.journal.read() {
		_, callsign, _ := strings.Cut(event, " ")
		byInstance[callsign] = append(byInstance[callsign], event)
	}
	wanted := make(map[string][]string)
	for _, events := range want {
		_, callsign, _ := strings.Cut(events[0], " ")
		wanted[callsign] = events
	}
	if diff := cmp.Diff(wanted, byInstance); diff != "" {
		r.Errorf("after %s (-want +got):\n%s", d, diff)
	}
}

func (r *rig) callPlugin(callsign string) {
	r.Helper()
	if _, err := r.shell(callsign).Invoke(r.Context(), shell.Call{Method: "m"}); err != nil {
		r.Errorf("call of %s: %v", callsign, err)
	}
	synctest.Wait()
}

func sleepy(c *configs.Plugin) {
	c.OnCall, c.IdleSuspend, c.IdleHibernate = configs.OnCallWake, configs.IdleTime(time.Minute), configs.IdleTime(3*time.Minute)
}

func TestIdleTiers(t *testing.T) {
	runTiers(t, configs.Tiers{}, sleepy, []string{"A"}, func(r *rig, _ *gauge, _ map[string]*plugin) {
		r.after(time.Minute - time.Nanosecond)
		r.after(time.Nanosecond, "suspend A")
		r.after(2*time.Minute, "hibernate A")
		r.after(time.Hour)
		r.callPlugin("A")
		r.after(0, "wake A", "resume A")
		pass(30 * time.Second)
		r.callPlugin("A")
		r.after(time.Minute - time.Nanosecond)
		r.after(time.Nanosecond, "suspend A")
		r.callPlugin("A")
		r.after(0, "resume A")
	})
}

// An instance that is looked at falls asleep all the same.
func TestLookingKeepsNobodyAwake(t *testing.T) {
	runTiers(t, configs.Tiers{}, sleepy, []string{"A"}, func(r *rig, _ *gauge, _ map[string]*plugin) {
		<-time.After(time.Second / 2) // no look at the very moment of a tier: a probe then is a use
		for range 4 * 60 {
			<-time.After(time.Second)
			r.shell("A").Status()
			_ = r.shell("A").CheckHealth(r.Context())
			_, _ = r.shell("A").Exists(r.Context(), "m")
			if _, err := r.Explain("A"); err != nil {
				r.Fatal(err)
			}
		}
		r.after(0, "suspend A", "hibernate A")
	})
}

func TestPressure(t *testing.T) {
	rules := configs.Tiers{Pressure: configs.PressureOn, MemoryAvailable: 100 * pluginBytes}
	configure := func(c *configs.Plugin) {
		if c.Callsign != "Refuses" {
			c.OnCall = configs.OnCallWake
		}
	}
	runTiers(t, rules, configure, []string{"A", "B", "C", "Refuses"}, func(r *rig, g *gauge, _ map[string]*plugin) {
		g.set(100*pluginBytes + 1)
		for _, callsign := range []string{"C", "A", "B"} {
			pass(time.Minute)
			r.callPlugin(callsign)
		}
		if err := r.shell("B").Suspend(r.Context(), shell.Requested); err != nil {
			r.Fatal(err)
		}
		pass(time.Hour)
		r.journal.read()
		g.set(100*pluginBytes - 1)
		r.after(2*time.Second, "hibernate B")
		r.after(time.Hour)
		g.set(99*pluginBytes - 1)
		r.afterEach(2*time.Second, []string{"suspend C", "hibernate C"}, []string{"suspend A", "hibernate A"})
		g.set(200 * pluginBytes)
		r.after(time.Hour)
		if got := r.states()["Refuses"]; got != shell.Activated {
			r.Errorf("Refuses is %s", got)
		}
	})
}

// Under pressure sleeps go on until processes no longer wait; the kernel may report the same
// waiting twice.
func TestPressureIsLookedAtAgain(t *testing.T) {
	rules := configs.Tiers{Pressure: configs.PressureOn}
	configure := func(c *configs.Plugin) { c.OnCall = configs.OnCallWake }
	runTiers(t, rules, configure, []string{"A", "B", "C", "D", "E"}, func(r *rig, g *gauge, all map[string]*plugin) {
		for callsign := range all {
			pass(time.Hour)
			if err := r.shell(callsign).Suspend(r.Context(), shell.Requested); err != nil {
				r.Fatal(err)
			}
		}
		pass(time.Hour)
		r.journal.read()
		asleep := func() (n int) {
			for _, line := range r.journal.read() {
				n += strings.Count(line, "hibernate ")
			}
			return n
		}
		g.stall(150 * time.Millisecond)
		pass(0)
		if n := asleep(); n != 1 {
			r.Errorf("%d sleep at once, want 1", n)
		}
		pass(100 * time.Millisecond)
		g.stall(20 * time.Millisecond) // the kernel's window has the 150 ms in it still
		pass(149 * time.Millisecond)
		if n := asleep(); n != 0 {
			r.Errorf("%d sleep before the effect is seen", n)
		}
		pass(time.Millisecond)
		if n := asleep(); n != 2 {
			r.Errorf("%d sleep at the second look, want 2", n)
		}
		pass(time.Second)
		g.stall(149 * time.Millisecond)
		pass(time.Hour)
		if n := asleep(); n != 0 {
			r.Errorf("%d sleep for what is past", n)
		}
		g.stall(150 * time.Millisecond)
		pass(time.Hour)
		if n := asleep(); n != 1 {
			r.Errorf("%d sleep for new pressure, want 1", n)
		}
	})
}

// Memory that falls fast counts as short before it is.
func TestMemoryThatFalls(t *testing.T) {
	rules := configs.Tiers{Pressure: configs.PressureOn, MemoryAvailable: 100 << 20}
	runTiers(t, rules, func(c *configs.Plugin) { c.OnCall = configs.OnCallWake }, []string{"A"}, func(r *rig, g *gauge, _ map[string]*plugin) {
		g.set(300 << 20)
		pass(time.Hour)
		r.journal.read()
		for range 4 {
			g.free(-10 << 20)
			r.after(250 * time.Millisecond)
		}
		pass(time.Minute)
		g.free(-60 << 20)
		r.after(400 * time.Millisecond)
		g.free(-60 << 20)
		r.after(400*time.Millisecond, "suspend A", "hibernate A")
	})
}

func TestBudget(t *testing.T) {
	configure := func(c *configs.Plugin) { c.OnCall = configs.OnCallWake }
	runTiers(t, configs.Tiers{BudgetCount: 2}, configure, []string{"A", "B", "C", "D"}, func(r *rig, _ *gauge, _ map[string]*plugin) {
		pass(5 * time.Second)
		r.callPlugin("A")
		pass(4 * time.Second)
		r.afterEach(time.Minute, []string{"suspend B", "hibernate B"}, []string{"suspend C", "hibernate C"})
		r.callPlugin("B")
		r.afterEach(time.Minute, []string{"wake B", "resume B"}, []string{"suspend D", "hibernate D"})
	})
}

func TestDryRun(t *testing.T) {
	runTiers(t, configs.Tiers{DryRun: true, BudgetCount: 1}, sleepy, []string{"A", "B"}, func(r *rig, _ *gauge, _ map[string]*plugin) {
		r.after(time.Hour)
		e, err := r.Explain("A")
		if err != nil || e.Next == nil || !e.Next.DryRun || !strings.HasPrefix(e.Why, "the host would (dry-run) suspend it") {
			r.Errorf("got %+v, %v", e, err)
		}
	})
}

func TestFailedAttempts(t *testing.T) {
	runTiers(t, configs.Tiers{}, sleepy, []string{"A"}, func(r *rig, _ *gauge, all map[string]*plugin) {
		all["A"].Fail(shelltest.Hibernate, errors.New("the disk is full"))
		r.after(3*time.Minute, "suspend A", "hibernate A")
		e, _ := r.Explain("A")
		if e.Failure == nil || time.Until(e.Retry) != 10*time.Second || !strings.Contains(strings.Join(e.Keeps, "\n"), "the next comes in 10s: the disk is full") {
			r.Errorf("got %+v", e)
		}
		r.after(10*time.Second, "hibernate A")
		r.after(19 * time.Second)
		r.after(time.Second, "hibernate A")
		all["A"].Fail(shelltest.Hibernate, fmt.Errorf("%w: process 7 is in a vfork", hibernate.ErrPassing))
		r.after(40*time.Second, "hibernate A")
		all["A"].Fail(shelltest.Hibernate, fmt.Errorf("%w: process 7 has a ring", hibernate.ErrObstacle))
		r.after(80*time.Second, "hibernate A")
		r.after(24 * time.Hour)
		if why := r.ExplainBriefly("A"); !strings.Contains(why, "until it is started anew: not everything can go into an image: process 7 has a ring") {
			r.Errorf("why is %q", why)
		}
		all["A"].Fail(shelltest.Hibernate, nil)
		for _, operate := range []func(context.Context, shell.Reason) error{r.shell("A").Deactivate, r.shell("A").Activate} {
			if err := operate(r.Context(), shell.Requested); err != nil {
				r.Fatal(err)
			}
		}
		r.journal.read()
		r.after(3*time.Minute, "suspend A", "hibernate A")
	})
}

// With nothing to wait for the host sleeps: no timer of its goes off.
func TestNothingTicks(t *testing.T) {
	var callsigns []string
	for i := range 100 {
		callsigns = append(callsigns, fmt.Sprintf("P%d", i))
	}
	rules := configs.Tiers{Pressure: configs.PressureOn, MemoryAvailable: 100}
	runTiers(t, rules, sleepy, callsigns, func(r *rig, g *gauge, _ map[string]*plugin) {
		g.set(200)
		pass(time.Hour)
		for callsign, state := range r.states() {
			if state != shell.Hibernated && callsign[0] == 'P' {
				r.Fatalf("%s is %s", callsign, state)
			}
		}
		if m, again := r.autoSleep.measureSituation().Decide(); m != nil || !again.IsZero() {
			r.Errorf("it looks again in %s", time.Until(again))
		}
	})
}

func TestExplainUnknown(t *testing.T) {
	run(t, nil, func(r *rig) {
		if _, err := r.Explain("Nobody"); !errors.Is(err, ErrUnknown) {
			r.Errorf("got error %v", err)
		}
		if e, err := r.Explain("First"); err != nil || e.State != shell.Deactivated {
			r.Errorf("got %+v, %v", e, err)
		}
	})
}
