package hibernate_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"dormouse/hibernate"
)

// catalog returns the entries of the store, as a second process would read them.
func (b *fixture) catalog(t *testing.T) []hibernate.CatalogEntry {
	t.Helper()
	c, err := hibernate.OpenCatalog(b.dir, nil, week)
	must(t, err)
	entries, err := c.Entries(b.engine)
	must(t, err)
	return entries
}

// program returns the path of the program that the tree executes.
func (t *tree) program() (string, error) {
	return os.Readlink(fmt.Sprintf("/proc/%d/exe", t.root.Pid))
}

func TestCatalog(t *testing.T) {
	b := newFixture(t)
	b.mustMakeGolden(t)
	b.mustCheckpoint(t)
	before := b.listFiles(t)
	entries := b.catalog(t)
	if len(entries) != 2 || !entries[0].Golden || entries[1].Golden {
		t.Fatalf("got %v, want the golden image and the ordinary one", entries)
	}
	for _, e := range entries {
		if e.Callsign != "Counter" || e.WhyUnusable != nil || !e.Until.IsZero() || e.Bytes == 0 || e.Age() > time.Minute {
			t.Errorf("got %+v, want a usable image without an end", e)
		}
	}
	if e := entries[1]; e.Image == nil || e.Image.Generation != 1 {
		t.Errorf("got %+v, want generation 1", e.Image)
	}

	b.engine.Version = "2"
	for _, e := range b.catalog(t) {
		if !errors.Is(e.WhyUnusable, hibernate.ErrChanged) {
			t.Errorf("%v is usable with another engine: %v", e, e.WhyUnusable)
		}
	}
	b.engine.Version = "1"
	if after := b.listFiles(t); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("the catalog changed the store from %v to %v", before, after)
	}
}

func TestCatalogOfWhatIsKept(t *testing.T) {
	b := newFixture(t)
	b.mustCheckpoint(t)
	_, err := b.imageDir.Quarantine()
	must(t, err)
	entries := b.catalog(t)
	if len(entries) != 1 || !entries[0].Quarantined || entries[0].WhyUnusable == nil || entries[0].Until.IsZero() {
		t.Fatalf("got %+v, want a refused image whose time runs", entries)
	}
	_, err = b.store.Sweep(hibernate.Sweeping{
		KeepFor: week, Now: hibernate.CurrentMoment(),
		IsKnown: func(string) bool { return true }, IsMissing: func(string) bool { return false },
	})
	must(t, err)
	if left := time.Until(b.catalog(t)[0].Until); left < week-time.Minute || left > week {
		t.Errorf("the refused image is kept for %s, want a week", left)
	}
}

func TestCatalogWithoutStore(t *testing.T) {
	if _, err := hibernate.OpenCatalog(filepath.Join(t.TempDir(), "images"), nil, week); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want that there is no store", err)
	}
}

func TestImageAndPlannedUpdate(t *testing.T) {
	b := newFixture(t)
	program, err := b.tree.program()
	must(t, err)
	copied, other := filepath.Join(t.TempDir(), "copy"), filepath.Join(t.TempDir(), "other")
	text, err := os.ReadFile(program)
	must(t, err)
	must(t, os.WriteFile(copied, text, 0o700))
	must(t, os.WriteFile(other, flipBit(text), 0o700))
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(program, link))
	image := b.mustCheckpoint(t)
	add := func(path, newPath string) func(*hibernate.PlannedUpdate) {
		return func(u *hibernate.PlannedUpdate) { u.AddFile(path, newPath) }
	}
	tests := map[string]struct {
		plan func(*hibernate.PlannedUpdate)
		fits bool
	}{
		"nothing":                     {func(*hibernate.PlannedUpdate) {}, true},
		"a file of no concern":        {add("/usr/share/doc/nothing", ""), true},
		"its program":                 {add(program, ""), false},
		"its program by a link":       {add(link, ""), false},
		"its program by an equal one": {add(program, copied), true},
		"its program by another":      {add(program, other), false},
		"its program by a lost file":  {add(program, "/nowhere/at/all"), false},
		"the same engine":             {func(u *hibernate.PlannedUpdate) { u.Engine = "fake 1" }, true},
		"another engine":              {func(u *hibernate.PlannedUpdate) { u.Engine = "fake 2" }, false},
		"another kernel":              {add("/boot/vmlinuz-99.1-amd64", ""), false},
		"modules of another kernel":   {add("/usr/lib/modules/99.1-amd64/modules.order", ""), false},
		"a directory of modules":      {add("/lib/modules", ""), true},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			u := &hibernate.PlannedUpdate{}
			test.plan(u)
			if err := image.CheckFitsAfter(u); (err == nil) != test.fits {
				t.Errorf("got %v, want that the image fits: %v", err, test.fits)
			}
		})
	}
}

// Without the key of an encrypted image, which only the host may have, a catalog still tells an
// image that does not fit the machine any more from one that does.
func TestCatalogWithoutKey(t *testing.T) {
	b, _ := newPackedFixture(t, packings["encrypted"])
	b.mustCheckpoint(t)
	if e := b.catalog(t)[0]; !errors.Is(e.WhyUnusable, hibernate.ErrKey) {
		t.Errorf("got %v, want that the key is missing", e.WhyUnusable)
	}
	b.engine.Version = "2"
	if e := b.catalog(t)[0]; !errors.Is(e.WhyUnusable, hibernate.ErrChanged) {
		t.Errorf("got %v, want that the engine is another one", e.WhyUnusable)
	}
}

// An image that is out of use is untold until its loss was recorded, also for a later host.
func TestUntoldImages(t *testing.T) {
	b := newFixture(t)
	b.mustCheckpoint(t)
	if untold, err := b.store.UntoldImages(); len(untold) > 0 || err != nil {
		t.Errorf("got %v, %v of what can be woken", untold, err)
	}
	kept, err := b.imageDir.PutAside()
	must(t, err)
	untold, err := b.store.UntoldImages()
	if err != nil || len(untold) != 1 || untold[0].Path != kept.Path || untold[0].Aside != 1 || untold[0].Until.Sub(kept.Until).Abs() > time.Minute {
		t.Fatalf("got %+v, %v, want %+v", untold, err, kept)
	}
	must(t, b.store.MarkTold("Another"))
	if untold, err := b.store.UntoldImages(); len(untold) != 1 || err != nil {
		t.Errorf("got %v, %v after another instance was told", untold, err)
	}
	must(t, b.store.MarkTold("Counter"))
	later := openStore(t, b.dir)
	if untold, err := later.UntoldImages(); len(untold) > 0 || err != nil {
		t.Errorf("got %v, %v after it was told", untold, err)
	}
	if left := time.Until(b.catalog(t)[0].Until); left < week-time.Minute || left > week {
		t.Errorf("it is kept for %s, want a week", left)
	}
}
