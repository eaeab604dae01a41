package supervisor

import (
	"errors"
	"strings"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/shell"
)

// asleep makes a plugin sleep since an earlier host with another configuration.
func asleep(p *plugin) {
	p.sleeps()
	p.Asleep = &shell.Sleep{Kind: shell.Stored, Bytes: 4096}
	p.Outdated = errors.New("its configuration has changed")
}

// A host that starts ends what sleeps with another configuration, and starts it with the
// present one; what sleeps with the present one sleeps on.
func TestStartReplacesOutdatedSleeps(t *testing.T) {
	instances := []instance{{"Old", configs.StartDeactivated, 50, asleep}, {"Same", configs.StartActivated, 50, func(p *plugin) {
		asleep(p)
		p.Outdated = nil
	}}}
	run(t, instances, func(r *rig) {
		if why := r.ExplainBriefly("Old"); !strings.Contains(why, "It will wake only to end, and then start anew: its configuration has changed") {
			t.Errorf("it explains: %s", why)
		}
		r.Start(r.Context())
		r.expectState("Old", shell.Activated, shell.Startup)
		r.expectState("Same", shell.Hibernated, shell.Startup)
		r.expect("launch First", "launch Second", "wake Old", "end Old, requested", "launch Old")
	})
}

// While the wake can't be the plugin sleeps on with the reason, and it is tried again.
func TestOutdatedSleepIsTriedAgain(t *testing.T) {
	run(t, []instance{{"Old", configs.StartDeactivated, 50, asleep}}, func(r *rig) {
		r.plugins["Old"].failWakes(errors.New("memory is short"))
		r.Start(r.Context())
		if st := r.shell("Old").Status(); st.State != shell.Hibernated || st.Err == nil || !strings.Contains(st.Err.Error(), "memory is short") {
			t.Errorf("it is %s with error %v", st.State, st.Err)
		}
		r.journal.read()
		pass(time.Minute)
		tries := r.journal.read()
		if len(tries) < 3 || tries[0] != "wake Old" {
			t.Errorf("within a minute there were %v", tries)
		}
		r.plugins["Old"].failWakes(nil)
		pass(time.Minute)
		r.expectState("Old", shell.Activated, shell.Automatic)
		r.expect("wake Old", "end Old, automatic", "launch Old")
		pass(time.Hour)
		r.expect()
	})
}
