package supervisor

import (
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
