package supervisor

import (
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"dormouse/configs"
	"dormouse/shell"
)

// The host repeats its own start that found no room on a disk, or the plugin before not ended,
// without a restart policy and without counting, until that has passed or the plugin fails for
// another cause.
func TestStartThatCannotBeNowIsRepeated(t *testing.T) {
	for _, full := range []error{syscall.ENOSPC, syscall.EDQUOT, shell.ErrUnended} {
		runWith(t, []instance{{"A", configs.StartActivated, 50, nil}}, func(*Options) {}, func(r *rig) {
			a := r.plugins["A"]
			a.failStarts(fmt.Errorf("%w: cannot make the plugin's directory: %w", shell.ErrInstantiation, full))
			r.Start(r.Context())
			r.expectRestarts("A", 0, false, true)
			for _, pause := range []time.Duration{firstStartRetry, 2 * firstStartRetry} {
				a.TakeActions()
				pass(pause - time.Millisecond)
				if did := a.TakeActions(); len(did) != 0 {
					r.Errorf("before %s it did %v", pause, did)
				}
				pass(time.Millisecond)
				if did := a.TakeActions(); len(did) == 0 {
					r.Errorf("after %s nothing was tried", pause)
				}
				r.expectRestarts("A", 0, false, true)
			}
			if err := r.shell("A").Activate(r.Context(), shell.Requested); !errors.Is(err, full) { // it goes on after a request that failed
				r.Errorf("a request: %v", err)
			}
			r.expectRestarts("A", 0, false, true)
			a.failStarts(nil)
			pass(maxStartRetry)
			r.expectState("A", shell.Activated, shell.Automatic)
			r.expectRestarts("A", 0, false, false)
		})
	}
}

// A start is not repeated if a client asked for it, or if it fails for another cause.
func TestStartIsNotRepeated(t *testing.T) {
	for _, test := range []struct {
		start configs.StartMode
		fails error
	}{
		{configs.StartDeactivated, syscall.ENOSPC},
		{configs.StartActivated, syscall.EACCES},
	} {
		runWith(t, []instance{{"A", test.start, 50, nil}}, func(*Options) {}, func(r *rig) {
			r.plugins["A"].failStarts(fmt.Errorf("%w: %w", shell.ErrInstantiation, test.fails))
			r.Start(r.Context())
			if err := r.shell("A").Activate(r.Context(), shell.Requested); !errors.Is(err, test.fails) {
				r.Errorf("a request: %v", err)
			}
			r.expectRestarts("A", 0, false, false)
			pass(time.Hour)
			if state := r.shell("A").State(); state != shell.Deactivated {
				r.Errorf("it is %s", state)
			}
		})
	}
}
