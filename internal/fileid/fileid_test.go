package fileid

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestOf(t *testing.T) {
	dir := t.TempDir()
	path, link := filepath.Join(dir, "file"), filepath.Join(dir, "link")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	of := func(path string) ID {
		t.Helper()
		id, err := Of(path)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	write(path, "text")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	before := of(path)
	if before == (ID{}) || of(path) != before || of(link) != before {
		t.Errorf("it was %+v, is %+v, and by a link %+v", before, of(path), of(link))
	}
	write(path, "longer text")
	if of(path) == before {
		t.Error("other contents have the same ID")
	}
	write(path+".new", "text")
	if err := os.Chtimes(path+".new", time.Time{}, time.Unix(0, before.Modified)); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	if of(path) == before {
		t.Error("another file in its place has the same ID")
	}
	if _, err := Of(filepath.Join(dir, "missing")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestOfSettled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if id := OfUnlessJustChanged(path); id != (ID{}) {
		t.Errorf("a missing file has %+v", id)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if id := OfUnlessJustChanged(path); id != (ID{}) {
		t.Errorf("a file that was just written has %+v", id)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for late := time.After(10 * time.Second); OfUnlessJustChanged(self) == (ID{}); {
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("it does not settle")
		}
	}
}
