package supervisor

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"dormouse/configs"
	"dormouse/shell"
)

// While a source refuses, its instances and their clones are not activated, by nothing, and the
// errors of calls say why. Other sources are not asked.
func TestRefusedSource(t *testing.T) {
	errDisabled := errors.New("the package is disabled")
	var refuses atomic.Bool
	refuses.Store(true)
	refusal := func(source string) error {
		if source == FilesSource {
			t.Error("the files were asked about")
		}
		if refuses.Load() && source == "numbers" {
			return errDisabled
		}
		return nil
	}
	runWith(t, []instance{{"File", configs.StartActivated, 50, nil}}, func(o *Options) {
		o.Refusal = refusal
		o.Provided = map[string][]configs.Plugin{
			"numbers": {named("One", configs.StartActivated)}, "letters": {named("A", configs.StartActivated)},
		}
	}, func(r *rig) {
		r.Start(r.Context())
		r.must(r.Clone(r.Context(), "One", "Copy"))
		for _, callsign := range []string{"One", "Copy"} {
			sh, _ := r.Shell(callsign)
			if err := sh.Activate(r.Context(), shell.Requested); !errors.Is(err, shell.ErrIllegalState) || !errors.Is(err, errDisabled) {
				t.Errorf("activate %s: %v", callsign, err)
			}
			if _, err := sh.Invoke(r.Context(), shell.Call{Method: "any"}); !errors.Is(err, shell.ErrUnavailable) || !errors.Is(err, errDisabled) {
				t.Errorf("call of %s: %v", callsign, err)
			}
			if st := sh.Status(); !errors.Is(st.Err, errDisabled) {
				t.Errorf("status of %s: %v", callsign, st.Err)
			}
			if e, err := r.Explain(callsign); err != nil || !strings.Contains(e.Why, errDisabled.Error()) {
				t.Errorf("explanation of %s: %q, %v", callsign, e.Why, err)
			}
		}
		for callsign, want := range map[string]shell.State{"One": shell.Deactivated, "Copy": shell.Deactivated, "A": shell.Activated, "File": shell.Activated} {
			if got := r.states()[callsign]; got != want {
				t.Errorf("%s is %s", callsign, got)
			}
		}
		refuses.Store(false)
		for _, callsign := range []string{"One", "Copy"} {
			sh, _ := r.Shell(callsign)
			r.must(sh.Activate(r.Context(), shell.Requested))
		}
	})
}
