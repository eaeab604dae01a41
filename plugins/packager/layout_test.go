package packager

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"dormouse/plugins/packager/archive"
	"dormouse/plugins/packager/manifest"
	"dormouse/plugins/packager/oci"
	"dormouse/plugins/packager/records"
)

// A package is installed from an OCI layout on this machine, whatever the layout is called, and
// with changed bytes in it the old version stays.
func TestInstallFromLayout(t *testing.T) {
	run(t, func(r *rig) {
		dir := filepath.Join(r.root, "layout")
		var blobs []string
		for _, version := range []string{"1.0.0", "2.0.0"} {
			file := filepath.Join(r.root, version+".tar.zst")
			f, err := os.Create(file)
			r.must(err)
			_, err = archive.Build(r.Context(), r.simple(version, ""), f, archive.TarZstd, manifest.FileName, func(int64, int64) {})
			r.must(err)
			_, err = f.Seek(0, 0)
			r.must(err)
			layout, err := oci.OpenLayout(dir)
			r.must(err)
			a, err := layout.Add(r.Context(), f, oci.Label{Name: "p", Version: version}, version)
			r.must(errors.Join(err, f.Close()))
			blobs = append(blobs, filepath.Join(dir, "blobs", "sha256", a.Archive[len("sha256:"):]))
		}
		r.install(dir + ":1.0.0")
		r.expect("INSTALLED", "1.0.0", "1")
		if _, found := r.records.Get("layout"); found {
			t.Error("there is a package that is called as the layout")
		}
		whole, err := os.ReadFile(blobs[1])
		r.must(err)
		whole[len(whole)/2] ^= 1
		r.must(os.Chmod(blobs[1], 0o600))
		r.must(os.WriteFile(blobs[1], whole, 0o600))
		r.install(dir+":2.0.0", func(q *records.Request) { q.Named = "p" })
		r.expect("INSTALLED (upgrade failed)", "1.0.0", "1")
	})
}

// An address with a password is refused before it is kept anywhere.
func TestPasswordInAddress(t *testing.T) {
	run(t, func(r *rig) {
		for _, source := range []string{"https://me:s3cret@host/p.tar.zst", "oci://me:s3cret@host/p:1"} {
			r.expectError(r.Install(records.Request{Verb: records.Install, Source: source}), ErrBadRequest)
		}
		if len(r.records.All()) != 0 {
			t.Error("something was kept")
		}
	})
}
