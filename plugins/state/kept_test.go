package state

import (
	"os"
	"path/filepath"
	"testing"

	"dormouse/configs"
)

// kept keeps the state of owners in a new directory, and returns it.
func (r *rig) kept(owners ...string) (dir string) {
	r.Helper()
	dir = filepath.Join(r.TempDir(), "kept")
	must(r.T, os.Mkdir(dir, 0o700))
	must(r.T, r.Keep(r.Context(), dir, owners...))
	return dir
}

// What was kept is put back as it was, keys and blobs, also after the blobs were deleted, and can
// be put back again; other owners are not touched.
func TestKeepAndPutBack(t *testing.T) {
	r := newRig(t, "", configs.State{})
	r.set("A", "changed", `"before"`)
	r.set("A", "deleted", `"before"`)
	r.put("A", "replaced", "before")
	deleted := r.put("A", "deleted", "before")
	r.put("A", "same", "same")
	r.set("Child", "k", `"before"`)
	dir := r.kept("A", "Child", "Empty")

	r.set("A", "changed", `"after"`)
	r.set("A", "new", `"after"`)
	_, _, err := r.Change(t.Context(), "A", Change{Key: "deleted", Kind: DeleteKey})
	must(t, err)
	r.put("A", "replaced", "after, and longer")
	r.put("A", "new", "after")
	_, _, err = r.DeleteBlob(t.Context(), "A", "deleted", nil)
	must(t, err)
	r.set("Child", "k", `"after"`)
	r.set("Empty", "k", `"after"`)
	r.set("Other", "k", `"after"`)
	last, err := r.usage(t.Context(), "A")
	must(t, err)

	for range 2 {
		must(t, r.PutBack(t.Context(), dir))
		r.verify()
		for owner, keys := range map[string]map[string]string{
			"A":     {"changed": `"before"`, "deleted": `"before"`},
			"Child": {"k": `"before"`}, "Empty": {}, "Other": {"k": `"after"`},
		} {
			l, err := r.List(t.Context(), owner, Page{}, true)
			if len(l.All) != len(keys) || err != nil {
				t.Errorf("%s has %+v, %v", owner, l, err)
			}
			for _, e := range l.All {
				if string(e.Value) != keys[e.Key] {
					t.Errorf("%s of %s is %s", e.Key, owner, e.Value)
				}
			}
		}
		for name, want := range map[string]string{"replaced": "before", "deleted": "before", "same": "same"} {
			if got := r.text("A", name); got != want {
				t.Errorf("the blob %s is %q", name, got)
			}
		}
		if b, err := r.Blob(t.Context(), "A", "deleted"); b != deleted || err != nil {
			t.Errorf("it is %+v, %v, and was %+v", b, err, deleted)
		}
		if l, err := r.ListBlobs(t.Context(), "A", Page{}); len(l.All) != 3 || err != nil {
			t.Errorf("the blobs are %+v, %v", l, err)
		}
	}
	if n := r.set("A", "k", `1`); n <= last.revision {
		t.Errorf("the next revision is %d, and there was a %d", n, last.revision)
	}
	r = r.reopened()
	r.verify()
}

// Where nothing was kept, nothing is put back; what can't be read changes nothing.
func TestPutBackNothing(t *testing.T) {
	r := newRig(t, "", configs.State{})
	r.set("A", "k", `1`)
	r.put("A", "b", "text")
	must(t, r.PutBack(t.Context(), filepath.Join(t.TempDir(), "none")))
	dir := r.kept("A")
	path := filepath.Join(dir, keptName)
	whole, err := os.ReadFile(path)
	must(t, err)
	must(t, os.WriteFile(path, whole[:len(whole)-20], 0o600))
	if err := r.PutBack(t.Context(), dir); err == nil {
		t.Error("half a file was put back")
	}
	must(t, os.WriteFile(path, whole, 0o600))
	b, err := r.Blob(t.Context(), "A", "b")
	must(t, err)
	_, _, err = r.DeleteBlob(t.Context(), "A", "b", nil)
	must(t, err)
	must(t, os.Remove(filepath.Join(dir, b.file)))
	if err := r.PutBack(t.Context(), dir); err == nil {
		t.Error("a blob without its file was put back")
	}
	if e, err := r.Get(t.Context(), "A", "k"); string(e.Value) != `1` || err != nil {
		t.Errorf("the key is %+v, %v", e, err)
	}
	r.verify()
}

// The kept files of blobs are hard links: they take no room, and stay when the blob goes.
func TestKeptFilesAreLinks(t *testing.T) {
	r := newRig(t, "", configs.State{})
	b := r.put("A", "b", "text")
	dir := filepath.Join(r.root, "kept") // on the same file system
	must(t, os.Mkdir(dir, 0o700))
	must(t, r.Keep(t.Context(), dir, "A"))
	one, err := os.Stat(filepath.Join(r.files.Path(), b.file))
	must(t, err)
	other, err := os.Stat(filepath.Join(dir, b.file))
	must(t, err)
	if !os.SameFile(one, other) {
		t.Error("the kept file is another")
	}
}

// An owner that is named gets nothing of what was kept, and what it has stays.
func TestPutBackExcept(t *testing.T) {
	r := newRig(t, "", configs.State{})
	for _, owner := range []string{"A", "Taken"} {
		r.set(owner, "k", `"before"`)
		r.put(owner, "b", "before")
	}
	dir := r.kept("A", "Taken")
	for _, owner := range []string{"A", "Taken"} {
		r.set(owner, "k", `"after"`)
		r.put(owner, "b", "after")
	}
	must(t, r.PutBack(t.Context(), dir, "Taken"))
	r.verify()
	for owner, want := range map[string]string{"A": "before", "Taken": "after"} {
		l, err := r.List(t.Context(), owner, Page{}, true)
		must(t, err)
		if len(l.All) != 1 || string(l.All[0].Value) != `"`+want+`"` || r.text(owner, "b") != want {
			t.Errorf("%s has %+v and the blob %q, want %s", owner, l.All, r.text(owner, "b"), want)
		}
	}
}
