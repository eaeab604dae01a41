package shell

import (
	"context"
	"errors"
	"testing"
)

// An instance that can't be woken for now, as without the key of its image, sleeps on
// whatever is asked of it.
func TestSleepsOnWhileItCannotWake(t *testing.T) {
	run(t, setup{}, func(r *rig) {
		r.must(r.Activate(r.Context(), Startup))
		r.must(r.Hibernate(r.Context(), Automatic, 0))
		r.fake.fail(preparing, errBroken)
		r.forget()
		for name, ask := range map[string]func(context.Context, Reason) error{"activate": r.Activate, "deactivate": r.Deactivate} {
			if err := ask(r.Context(), Requested); !errors.Is(err, errBroken) {
				r.Errorf("%s: got %v, want %v", name, err, errBroken)
			}
		}
		r.expect()
		if st := r.Status(); st.State != Hibernated || st.Sleep == nil {
			r.Errorf("got %+v", st)
		}
	})
}
