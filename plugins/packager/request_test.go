package packager

import (
	"testing"

	"dormouse/plugins/packager/records"
)

// Only what the catalogue offers is official; what a client names by its address is local.
func TestOrigins(t *testing.T) {
	runWith(t, func(o *Options) { o.Config.Catalogue = "oci://127.0.0.1:1/plugins" }, func(r *rig) {
		for source, want := range map[string]records.Origin{
			"counter": records.Official,
			"oci://127.0.0.1:1/plugins/counter:1.0.0": records.Official,
			"oci://127.0.0.1:1/plugins:counter-1.0.0": records.Local,
			"oci://127.0.0.1:2/plugins/counter:1.0.0": records.Local,
			"https://127.0.0.1:1/counter.tar.zst":     records.Local,
			r.simple("1.0.0", ""):                     records.Local,
		} {
			request := records.Request{Source: source}
			if _, err := r.lookAt(&request); err != nil || request.Origin != want {
				t.Errorf("%s is %q, %v; want %q", source, request.Origin, err, want)
			}
		}
	})
}
