package supervisor

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"testing"

	"dormouse/shell"
)

// After a rollback the virtual plugins are what they were: those that came since are gone with all
// that is kept of them, those that were removed or changed are as before, and another parent's are
// not touched.
func TestPutVirtualsBack(t *testing.T) {
	var removed []string
	dir := t.TempDir()
	runWith(t, parents, func(o *Options) {
		o.RemoveKept = func(callsign string) error { removed = append(removed, callsign); return nil }
		keeping(filepath.Join(dir, "store.db"))(o)
	}, func(r *rig) {
		r.closing()
		r.Start(r.Context())
		for _, callsign := range []string{"Same", "Removed", "Changed", "Taken"} {
			r.create("P", callsign)
		}
		r.create("Q", "Other")
		kept, err := KeptVirtualsOf(r.options.Store, "P")
		r.must(err)
		r.must(r.RemoveVirtual(r.Context(), "P", "Removed"))
		r.must(r.RemoveVirtual(r.Context(), "P", "Taken"))
		r.create("Q", "Taken")
		r.create("P", "New")
		r.must(r.UpdateVirtual(r.Context(), "P", Virtual{Callsign: "Changed", Configuration: json.RawMessage(`{"of":"another"}`)}))
		removed = nil
		for range 2 {
			taken, err := r.PutVirtualsBack("P", kept)
			r.must(err)
			if !slices.Equal(taken, []string{"Taken"}) {
				t.Errorf("others have the callsigns %q", taken)
			}
			var callsigns []string
			for _, v := range r.VirtualsOf("P") {
				callsigns = append(callsigns, v.Callsign)
			}
			if !slices.Equal(callsigns, []string{"Changed", "Removed", "Same"}) || !slices.Equal(removed, []string{"New"}) {
				t.Errorf("there are %q, and all was removed of %q", callsigns, removed)
			}
			for _, callsign := range []string{"Same", "Removed", "Changed", "Other", "Taken"} {
				r.expectIs(callsign, shell.Activated)
			}
			r.expectIs("New", "")
			if got := r.shell("Changed").Config().Configuration["of"]; got != "Changed" {
				t.Errorf("the changed one is configured as %v", got)
			}
		}
	})
}
