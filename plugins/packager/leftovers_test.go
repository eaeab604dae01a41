package packager

import (
	"os"
	"path/filepath"
	"testing"

	"dormouse/plugins/packager/records"
)

// A download that is refused leaves no file, an archive that is cut no directory, and the
// removal of a package that was never whole takes the rest of its download along.
func TestNoLeftovers(t *testing.T) {
	run(t, func(r *rig) {
		uploads := func() (names []string) {
			entries, err := os.ReadDir(r.dirs.UploadDir())
			r.must(err)
			for _, e := range entries {
				if filepath.Ext(e.Name()) == ".part" {
					names = append(names, e.Name())
				}
			}
			return names
		}
		whole := r.build(r.simple("1.0.0", ""))
		cut := filepath.Join(r.root, "p.tar.gz")
		r.must(os.WriteFile(cut, whole[:len(whole)-12], 0o600))
		r.install(cut)
		if record, _ := r.records.Get("p"); record.State != records.Failed || record.Failure.Phase != records.Unpacking {
			t.Errorf("the cut archive: %+v", record.Failure)
		}
		versions := filepath.Dir(r.versionDir("p", "sha256:0"))
		request := records.Request{Source: "http://127.0.0.1:1/p.tar.gz"} // not encrypted
		r.install(request.Source)
		record, _ := r.records.Get("p")
		if left := uploads(); record.State != records.Failed || len(left) > 0 {
			t.Errorf("it is %s, and left %q", record.Status(), left)
		}
		if _, err := os.Stat(versions); err == nil {
			t.Error("an empty directory stays for its versions")
		}
		part := (&operation{p: r.Packager, name: "p", request: request}).uploadPath()
		r.must(os.WriteFile(part, []byte("the beginning"), 0o600))
		r.must(r.Uninstall("p", records.Request{}))
		r.wait()
		if _, known := r.records.Get("p"); known || len(uploads()) > 0 {
			t.Errorf("after the removal it is known: %t, and left %q", known, uploads())
		}
	})
}
