package database

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/plugins/packager/oci"
)

// add adds an archive with that text.
func add(t *testing.T, d *Database, version, digest, text string) Entry {
	t.Helper()
	path := filepath.Join(t.TempDir(), "archive")
	must(t, os.WriteFile(path, []byte(text), 0o600))
	blob, size, err := Digest(bytes.NewReader([]byte(text)))
	must(t, err)
	e := Entry{Name: "p", Version: version, Digest: digest, Blob: blob, Size: size}
	must(t, d.Add(path, e))
	return e
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// What is added can be found, by another open layout and by the library that reads OCI; what is
// removed has gone with its blobs.
func TestDatabase(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "database")
	d := At(dir)
	if d.IsThere() {
		t.Error("it is there before it was made")
	}
	must(t, d.Claim())
	one := add(t, d, "1.0.0+b1", "sha256:p1", "one")
	two := add(t, d, "2.0.0", "sha256:p2", "two")
	other := add(t, d, "2.0.0", "sha256:p2b", "other bytes")
	d = At(dir)
	all, err := d.Entries()
	if diff := cmp.Diff([]Entry{one, two, other}, all); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	_, path, found, err := d.Find("sha256:p1")
	text, _ := os.ReadFile(path)
	if err != nil || !found || string(text) != "one" {
		t.Errorf("found is %q, %t, %v", text, found, err)
	}
	layout, err := oci.OpenLayout(dir)
	must(t, err)
	artifact, err := layout.Resolve(t.Context(), "p-2.0.0")
	if err != nil || artifact.Archive != other.Blob || artifact.Digest != "sha256:p2b" {
		t.Errorf("the library finds %+v, %v", artifact, err)
	}

	must(t, d.Remove("sha256:p1", os.Remove))
	must(t, d.Remove("sha256:p1", os.Remove))
	if _, _, found, err := d.Find("sha256:p1"); found || err != nil {
		t.Errorf("it is still there, %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("its archive is still there")
	}
	must(t, os.WriteFile(d.blobPath(two.Blob), []byte("cut"), 0o600))
	if _, _, found, err := d.Find("sha256:p2"); err != nil || !found {
		t.Errorf("an archive of the right size is not found, %v", err)
	}
	must(t, os.Truncate(d.blobPath(two.Blob), 1))
	if _, _, found, err := d.Find("sha256:p2"); err != nil || found {
		t.Errorf("an archive that was cut is found, %v", err)
	}
}

// Adding the same package again replaces its entry.
func TestAddTwice(t *testing.T) {
	d := At(filepath.Join(t.TempDir(), "database"))
	must(t, d.Claim())
	add(t, d, "1.0.0", "sha256:p1", "one")
	again := add(t, d, "1.0.0", "sha256:p1", "packed anew")
	all, err := d.Entries()
	if diff := cmp.Diff([]Entry{again}, all); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if blobs, err := os.ReadDir(d.blobDir()); err != nil || len(blobs) != 3 { // the empty configuration, a manifest, an archive
		t.Errorf("there are %d blobs, %v", len(blobs), err)
	}
}
