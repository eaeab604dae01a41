package supervisor

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"dormouse/configs"
	"dormouse/shell"
)

var seed = flag.Uint64("seed", 0, "run TestRandomConditions with this seed only")

// web is a host whose instances depend on each other in every way, also in a
// circle of subsystems.
func web() ([]instance, func(*Options)) {
	var instances []instance
	for i, callsign := range []string{"A", "B", "C", "D", "E", "F"} {
		instances = append(instances, instance{callsign, configs.StartActivated, i % 2, func(p *plugin) {
			p.sleeps()
		}})
	}
	return instances, func(o *Options) {
		for i := range o.Plugins {
			o.Plugins[i].Resume = new(bool)
		}
		a, b, c, d, e, f := &o.Plugins[0], &o.Plugins[1], &o.Plugins[2], &o.Plugins[3], &o.Plugins[4], &o.Plugins[5]
		a.Controls = []string{"Network", "Time"}
		b.Controls, b.Terminations = []string{"Internet"}, []string{"!Time"}
		c.Preconditions, c.Terminations = []string{"Internet"}, []string{"!Network"}
		c.Controls = []string{"Time"}
		d.Requires, d.Terminations = []string{"A", "C"}, []string{"Graphics"}
		e.Requires = []string{"B", "D"}
		f.Requires, f.Controls = []string{"A"}, []string{"Graphics"}
	}
}

// TestRandomConditions lets several users do what they like with such a host.
// When all is quiet, no instance waits for what is there, and none is active without
// what it needs.
func TestRandomConditions(t *testing.T) {
	const users, each, seeds = 5, 60, 30
	first, last := uint64(1), uint64(seeds)
	if *seed != 0 {
		first, last = *seed, *seed
	}
	instances, change := web()
	for seed := first; seed <= last; seed++ {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			runWith(t, instances, change, func(r *rig) {
				heard := &follower{at: map[string]shell.State{}}
				r.Cleanup(r.Listen(heard))
				begun := time.Now()
				r.Start(r.Context())
				var all sync.WaitGroup
				for n := range users {
					all.Go(func() {
						dice := rand.New(rand.NewPCG(seed, uint64(n)))
						for range each {
							r.act(dice)
						}
					})
				}
				all.Wait()
				synctest.Wait()
				for _, wrong := range append(heard.wrong, r.unsettled()...) {
					r.Error(wrong)
				}
				if took := time.Since(begun); took != 0 {
					r.Errorf("a caller waited in vain: it took %s", took)
				}
			})
		})
	}
}

func (r *rig) act(dice *rand.Rand) {
	shells := r.roster.allExceptHostBuiltins()
	sh := shells[dice.IntN(len(shells))]
	switch n := dice.IntN(100); {
	case n < 40:
		_ = sh.Activate(r.Context(), shell.Requested)
	case n < 50:
		_ = sh.Deactivate(r.Context(), shell.Requested)
	case n < 55:
		_ = sh.Hibernate(r.Context(), shell.Requested, 0)
	case n < 60:
		if sh.State() == shell.Activated {
			r.plugins[sh.Callsign()].Sink.Exited(errors.New("killed"))
		}
	case n < 63:
		_ = sh.Restart(r.Context(), shell.Requested)
	case n < 70:
		p := sh.Config()
		p.Arguments = []string{fmt.Sprint(n)}
		_ = r.Replace(r.Context(), FilesSource, p, func(context.Context) error {
			if dice.IntN(4) == 0 {
				return errors.New("disk full")
			}
			return nil
		})
	default:
		for _, name := range sh.EffectiveInformation().Controls {
			_ = r.SetSubsystem(sh.Callsign(), name, dice.IntN(3) > 0)
		}
	}
}

// unsettled returns the instances that are not in the state which their conditions ask for.
func (r *rig) unsettled() (wrong []string) {
	for _, sh := range r.roster.allExceptHostBuiltins() {
		missing, lost := r.conditions.missingRequirementsError(sh.Config(), sh.EffectiveInformation()), r.conditions.lostRequirementsError(sh.Config(), sh.EffectiveInformation())
		isPresent := r.conditions.isInstancePresent(sh.Callsign())
		switch state := sh.State(); {
		case isPresent != (state == shell.Activated || state == shell.Hibernated):
			wrong = append(wrong, fmt.Sprintf("%s is %s, and present %t", sh.Callsign(), state, isPresent))
		case state == shell.Precondition && missing == nil:
			wrong = append(wrong, sh.Callsign()+" waits for nothing")
		case state == shell.Activated && lost != nil:
			wrong = append(wrong, fmt.Sprintf("%s is active, but %v", sh.Callsign(), lost))
		case state != shell.Activated && state != shell.Precondition && state != shell.Deactivated && state != shell.Hibernated:
			wrong = append(wrong, fmt.Sprintf("%s is %s with nothing left to do", sh.Callsign(), state))
		}
	}
	for _, s := range r.Subsystems() {
		if by := r.conditions.active[s.Name]; s.Active && by != "" && !r.conditions.present[by] {
			wrong = append(wrong, fmt.Sprintf("%s is up because of %s, which is gone", s.Name, by))
		}
	}
	return wrong
}
