package supervisor

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"

	"dormouse/configs"
	"dormouse/shell"
)

// What an instance has made active is so in the next host too if the instance goes
// on or sleeps on, and is forgotten otherwise.
func TestSubsystemsOutliveTheHost(t *testing.T) {
	adopted := func(p *plugin) { p.LeftRunning = true }
	asleep := func(p *plugin) { p.Asleep = &shell.Sleep{} }
	for _, next := range []struct {
		name   string
		change func(*plugin)
		up     bool
	}{
		{"adopted", adopted, true},
		{"hibernated", asleep, true},
		{"not to be adopted", func(p *plugin) { p.LeftRunning, p.fails = true, errors.New("another process") }, false},
		{"ended", nil, false},
	} {
		t.Run(next.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "store.db")
			host := func(change func(*plugin), test func(*rig)) {
				instances, controls := network(configs.StartActivated, "!Network")
				instances[0].change = change
				runWith(t, instances, func(o *Options) {
					controls(o)
					keeping(path)(o)
				}, func(r *rig) {
					r.closing()
					r.Adopt(r.Context())
					test(r)
				})
			}
			host((*plugin).sleeps, func(r *rig) {
				r.Start(r.Context())
				r.activate("Net")
				r.set("Net", "Network", true)
				if err := r.shell("Net").Hibernate(r.Context(), shell.Requested, 0); err != nil {
					r.Fatal(err)
				}
			})
			host(next.change, func(r *rig) {
				if up := slices.Contains(r.Subsystems(), Subsystem{"Network", true}); up != next.up {
					r.Errorf("the network is up: %t", up)
				}
				r.Start(r.Context())
				want := shell.Precondition
				if next.up {
					want = shell.Activated
				}
				r.expectState("Pre", want, shell.Startup)
				r.deactivate("Net")
			})
			host(asleep, func(r *rig) { // though another than the one that ended
				if slices.Contains(r.Subsystems(), Subsystem{"Network", true}) {
					r.Error("the network is up by an instance that has ended")
				}
			})
		})
	}
}
