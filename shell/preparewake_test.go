package shell_test

import (
	"context"
	"errors"
	"testing"

	"dormouse/shell"
	"dormouse/shell/shelltest"
)

// An instance that can't be woken for now, as without the key of its image, sleeps on
// whatever is asked of it.
func TestSleepsOnWhileItCannotWake(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.must(r.Activate(r.Context(), shell.Startup))
		r.must(r.Hibernate(r.Context(), shell.Automatic, 0))
		r.fake.Fail(shelltest.PrepareWake, errBroken)
		r.forgetSoFar()
		for name, ask := range map[string]func(context.Context, shell.Reason) error{"activate": r.Activate, "deactivate": r.Deactivate} {
			if err := ask(r.Context(), shell.Requested); !errors.Is(err, errBroken) {
				r.Errorf("%s: got %v, want %v", name, err, errBroken)
			}
		}
		r.expect()
		if st := r.Status(); st.State != shell.Hibernated || st.Sleep == nil {
			r.Errorf("got %+v", st)
		}
	})
}
