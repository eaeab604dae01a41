package supervisor

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/shell"
)

// A plugin that a reload would have to end sleeps on while it can't be woken, as it was, and
// is ended as soon as it can be.
func TestReloadIsRepeated(t *testing.T) {
	var awakes atomic.Bool
	sleeper := func(p *plugin) {
		p.sleeps()
		p.unwokenIf = func() error {
			if awakes.Load() {
				return nil
			}
			return errors.New("no memory")
		}
	}
	run(t, []instance{
		{"Changed", configs.StartActivated, 50, sleeper},
		{"Gone", configs.StartActivated, 50, sleeper},
	}, func(r *rig) {
		r.Start(r.Context())
		for _, callsign := range []string{"Changed", "Gone"} {
			r.must(r.shell(callsign).Suspend(r.Context(), shell.Requested))
			r.must(r.shell(callsign).Hibernate(r.Context(), shell.Requested, 0))
		}
		plugins := r.files()
		delete(plugins, "Gone")
		change(plugins, "Changed", func(p *configs.Plugin) { p.Executable = "other" })
		r.reload(plugins,
			"Changed: could not be restarted although its executable differs: cannot deactivate: cannot wake: no memory; it sleeps on as it was, and the host tries again",
			"Gone: could not be removed: cannot destroy: cannot wake: no memory; it sleeps on as it was, and the host tries again",
		)
		pass(10 * time.Minute)
		for _, callsign := range []string{"Changed", "Gone"} {
			if st := r.shell(callsign).Status(); st.State != shell.Hibernated || st.Config.Executable == "other" || st.Err == nil {
				r.Errorf("%s is %s with %q, error %v", callsign, st.State, st.Config.Executable, st.Err)
			}
		}
		awakes.Store(true)
		pass(time.Minute)
		if st := r.shell("Changed").Status(); st.State != shell.Activated || st.Config.Executable != "other" {
			r.Errorf("it is %s with %q", st.State, st.Config.Executable)
		}
		if _, there := r.Shell("Gone"); there {
			r.Error("what the configuration does not name is there yet")
		}
	})
}
