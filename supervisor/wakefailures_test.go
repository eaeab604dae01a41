package supervisor

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"

	"dormouse/configs"
	"dormouse/shell"
)

// A wake that can't be now is told by an event, explained, and in the status until the plugin
// wakes.
func TestFailedWakeIsTold(t *testing.T) {
	run(t, []instance{{"A", configs.StartDeactivated, 50, (*plugin).sleeps}}, func(r *rig) {
		heard := ear{&journal{}}
		defer r.Listen(heard)()
		r.activate("A")
		r.must(r.shell("A").Hibernate(r.Context(), shell.Requested, 0))
		r.plugins["A"].failWakes(errors.New("memory is short"))
		if err := r.shell("A").Deactivate(r.Context(), shell.Requested); !errors.Is(err, shell.ErrHibernated) {
			t.Errorf("got %v", err)
		}
		synctest.Wait()
		if events := strings.Join(heard[0].read(), "\n"); strings.Count(events, "Controller wakefailed") != 1 {
			t.Errorf("it was told as %s", events)
		}
		e, err := r.Explain("A")
		r.must(err)
		if !strings.Contains(e.Why, "could not be woken and sleeps on: cannot wake: memory is short") || e.Failure == nil {
			t.Errorf("explained as %+v", e)
		}
		if st := r.shell("A").Status(); st.Err == nil || st.FailedWakes != 1 {
			t.Errorf("its status is %+v", st)
		}
		r.plugins["A"].failWakes(nil)
		r.journal.read()
	})
}
