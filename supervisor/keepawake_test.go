package supervisor

import (
	"context"
	"errors"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/shell"
)

// A plugin that is to be kept awake does not go to sleep by itself, whether it is used or not,
// and then after its idle time.
func TestKeepAwake(t *testing.T) {
	configure := func(p *configs.Plugin) { p.IdleHibernate = configs.IdleTime(time.Minute) }
	runTiers(t, configs.Tiers{}, configure, []string{"A"}, func(r *rig, _ *gauge, _ map[string]*plugin) {
		a := r.shell("A")
		r.must(a.KeepAwake(time.Hour))
		r.after(30 * time.Minute)
		r.callPlugin("A")
		r.must(a.KeepAwake(time.Second)) // does not shorten the hour
		r.after(30*time.Minute + 59*time.Second)
		r.after(2*time.Second, "suspend A", "hibernate A")
		if err := a.KeepAwake(time.Hour); !errors.Is(err, shell.ErrIllegalState) {
			t.Errorf("what sleeps is kept awake: %v", err)
		}
	})
}

// A plugin that is held awake does not go to sleep by itself, and then after its idle time.
func TestHoldAwake(t *testing.T) {
	configure := func(p *configs.Plugin) { p.IdleHibernate = configs.IdleTime(time.Minute) }
	runTiers(t, configs.Tiers{}, configure, []string{"A"}, func(r *rig, _ *gauge, _ map[string]*plugin) {
		a := r.shell("A")
		first, second := a.HoldAwake(), a.HoldAwake()
		r.after(time.Hour)
		first()
		first() // is released once
		r.after(time.Hour)
		if err := a.SuspendIdle(context.Background(), time.Now()); !errors.Is(err, shell.ErrInUse) {
			t.Errorf("it is suspended although it is held awake: %v", err)
		}
		second()
		r.after(59 * time.Second)
		r.after(time.Minute, "suspend A", "hibernate A")
	})
}
