package disk

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

const one, two = "sha256:11", "sha256:22"

func newDirs(t *testing.T) *Dirs {
	t.Helper()
	d := At(filepath.Join(t.TempDir(), "packages"))
	must(t, d.Make())
	if _, err := d.MakeFiles(); err != nil {
		t.Fatal(err)
	}
	for _, digest := range []string{one, two} {
		draft, err := d.NewDraft("p")
		must(t, err)
		must(t, os.Mkdir(draft, 0o700))
		must(t, os.WriteFile(filepath.Join(draft, "file"), []byte(digest), 0o600))
		must(t, d.PublishVersion(draft, "p", digest))
	}
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A link leads from one version to the other in one step; what an operator put there goes to the
// trash, a directory and a link alike.
func TestLink(t *testing.T) {
	d := newDirs(t)
	path := filepath.Join(d.FilesDir(), "p")
	for _, step := range []struct {
		put    func() error
		digest string
		trash  int
	}{
		{func() error { return nil }, one, 0},
		{func() error { return nil }, two, 0},
		{func() error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o700)) }, one, 1},
		{func() error { return errors.Join(os.Remove(path), os.Symlink("/", path)) }, two, 1},
	} {
		must(t, step.put())
		must(t, d.Link("p", step.digest))
		text, err := os.ReadFile(filepath.Join(path, "file"))
		if err != nil || string(text) != step.digest {
			t.Errorf("the link leads to %q, %v, want %s", text, err, step.digest)
		}
		if e, found := d.Entry("p"); !found || e.Digest != step.digest || e.Dir != "" {
			t.Errorf("the entry is %+v, %t", e, found)
		}
		if trashed, err := d.Trashed(); err != nil || len(trashed) != step.trash {
			t.Errorf("the trash has %v, %v", trashed, err)
		}
	}
	must(t, d.Unlink("p"))
	must(t, d.Unlink("p"))
	if all, err := d.Entries(); err != nil || len(all) != 0 {
		t.Errorf("there is still %v, %v", all, err)
	}
}

// What is not whole is removed at the next start, and nothing else.
func TestDraftsAreRemoved(t *testing.T) {
	d := newDirs(t)
	draft, err := d.NewDraft("p")
	must(t, err)
	must(t, os.Mkdir(draft, 0o700))
	must(t, os.Symlink("nowhere", filepath.Join(d.FilesDir(), draftPrefix+"p")))
	must(t, os.MkdirAll(filepath.Join(d.root, dataName, "p", draftPrefix+"x"), 0o700))
	must(t, d.Make())
	for _, path := range []string{draft, filepath.Join(d.FilesDir(), draftPrefix+"p"), filepath.Join(d.root, dataName, "p", draftPrefix+"x")} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
	if digests, err := d.Versions("p"); err != nil || len(digests) != 2 {
		t.Errorf("the versions are %v, %v", digests, err)
	}
}

// Data is kept as a whole with modes, links and times, or not at all; put back, it takes the place
// of what was written since, which goes to the trash.
func TestKeepDataAndPutBack(t *testing.T) {
	d := newDirs(t)
	data := filepath.Join(t.TempDir(), "P")
	must(t, os.MkdirAll(filepath.Join(data, "sub"), 0o750))
	must(t, os.WriteFile(filepath.Join(data, "sub", "file"), []byte("old"), 0o640))
	must(t, os.Symlink("sub/file", filepath.Join(data, "link")))
	at := time.Unix(1_000_000, 5)
	must(t, os.Chtimes(filepath.Join(data, "sub"), at, at))

	if !d.SharesBlocks(data) {
		err := d.KeepData(t.Context(), data, "p", one, "P", 2)
		if !errors.Is(err, ErrTooLarge) || d.HasData("p", one, "P") {
			t.Errorf("three bytes where two may be: %v", err)
		}
	}
	must(t, d.KeepData(t.Context(), data, "p", one, "P", 3))
	must(t, os.WriteFile(filepath.Join(data, "sub", "file"), []byte("new"), 0o600))
	must(t, d.PutDataBack(data, "p", one, "P"))
	info, err := os.Stat(filepath.Join(data, "link"))
	must(t, err)
	text, err := os.ReadFile(filepath.Join(data, "link"))
	if err != nil || string(text) != "old" || info.Mode().Perm() != 0o640 {
		t.Errorf("put back is %q with %s, %v", text, info.Mode(), err)
	}
	if sub, err := os.Stat(filepath.Join(data, "sub")); err != nil || !sub.ModTime().Equal(at) || sub.Mode().Perm() != 0o750 {
		t.Errorf("the directory is of %s with %s, %v", sub.ModTime(), sub.Mode(), err)
	}
	trashed, err := d.Trashed()
	must(t, err)
	if text, err := os.ReadFile(filepath.Join(trashed[0].Path, "sub", "file")); err != nil || string(text) != "new" {
		t.Errorf("in the trash is %q, %v", text, err)
	}
	must(t, d.PutDataBack(data, "p", one, "P")) // as after a crash: nothing is left to do
	if trashed, err := d.Trashed(); err != nil || len(trashed) != 1 {
		t.Errorf("a second time something was moved: %v, %v", trashed, err)
	}
	if kept, err := d.KeptVersions("p"); err != nil || len(kept) > 1 {
		t.Errorf("kept are %v, %v", kept, err)
	}
}

// What has been in the trash for longer than TrashTime goes.
func TestEmptyTrash(t *testing.T) {
	d := newDirs(t)
	path := filepath.Join(t.TempDir(), "x")
	must(t, os.WriteFile(path, nil, 0o600))
	must(t, d.Trash(path, "label"))
	must(t, d.EmptyTrash(time.Now().Add(TrashTime-time.Minute)))
	if all, err := d.Trashed(); err != nil || len(all) != 1 || all[0].Label != "label" {
		t.Errorf("the trash has %v, %v", all, err)
	}
	must(t, d.EmptyTrash(time.Now().Add(TrashTime+time.Minute)))
	if all, err := d.Trashed(); err != nil || len(all) != 0 {
		t.Errorf("the trash still has %v, %v", all, err)
	}
}

// Every change of a directory that a program can make changes its fingerprint, and moving it does
// not.
func TestFingerprint(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	must(t, os.MkdirAll(dir, 0o700))
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, []byte("one"), 0o600))
	last, err := Fingerprint(dir)
	must(t, err)
	info, err := os.Stat(file)
	must(t, err)
	for name, change := range map[string]func() error{
		"same size and time": func() error {
			return errors.Join(os.WriteFile(file, []byte("two"), 0o600), os.Chtimes(file, info.ModTime(), info.ModTime()))
		},
		"replaced": func() error {
			return errors.Join(os.WriteFile(file+"2", []byte("two"), 0o600), os.Rename(file+"2", file))
		},
		"mode":  func() error { return os.Chmod(file, 0o700) },
		"added": func() error { return os.WriteFile(filepath.Join(dir, "new"), nil, 0o600) },
	} {
		must(t, change())
		now, err := Fingerprint(dir)
		if err != nil || now == last {
			t.Errorf("%s: the fingerprint stays %s, %v", name, now, err)
		}
		last = now
	}
	must(t, os.Rename(dir, dir+"2"))
	if now, err := Fingerprint(dir + "2"); err != nil || now != last {
		t.Errorf("moved, it is %s and was %s, %v", now, last, err)
	}
}
