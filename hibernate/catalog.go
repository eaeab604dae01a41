package hibernate

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"dormouse/hibernate/pack"
)

// Catalog describes the images of a store for an operator. It changes nothing in the store,
// which a host may use meanwhile.
type Catalog struct {
	store *Store
	// keepFor is how long images are kept that no instance can wake, as in Sweeping.
	keepFor time.Duration
}

// OpenCatalog opens a catalog of the store in dir, whose encrypted images key opens; a nil key
// opens none. The error wraps fs.ErrNotExist if there is no store.
func OpenCatalog(dir string, key []byte, keepFor time.Duration) (*Catalog, error) {
	storeKey, err := os.ReadFile(filepath.Join(dir, keyName))
	if err != nil {
		return nil, fmt.Errorf("cannot read the image store: %w", err)
	}
	return &Catalog{&Store{dir: dir, key: storeKey, packing: pack.Options{Key: key}}, keepFor}, nil
}

// CatalogEntry describes one image of a store.
type CatalogEntry struct {
	StoredImage
	// Image is nil if what is stored can't be read as an image.
	Image *Image
	// Until is when the image will be removed unless an instance can wake it by then. It is
	// zero for an image that no start of a host has found unusable.
	Until time.Time
	// WhyUnusable is why no plugin can be restored from the image, nil if that may succeed.
	WhyUnusable error
}

// Age returns how long ago the image was made.
func (e CatalogEntry) Age() time.Duration {
	if e.Image != nil {
		return e.Image.Age()
	}
	return max(0, time.Since(e.Written))
}

// KindWord returns "image", "golden", "refused" or "aside".
func (e CatalogEntry) KindWord() string {
	if e.Aside > 0 {
		return "aside"
	}
	return e.dirName()
}

// IsSleep reports whether the image is what an instance sleeps in.
func (e CatalogEntry) IsSleep() bool { return e.dirName() == imageName }

// Entries returns all images in the order of the callsigns. An image that is removed meanwhile
// is left out.
func (c *Catalog) Entries(e Engine) ([]CatalogEntry, error) {
	stored, err := c.store.ListInEvictionOrder()
	if err != nil {
		return nil, fmt.Errorf("cannot read the image store: %w", err)
	}
	var entries []CatalogEntry
	for _, one := range stored {
		if entry, there := c.entry(one, e); there {
			entries = append(entries, entry)
		}
	}
	slices.SortStableFunc(entries, func(a, b CatalogEntry) int { return cmp.Compare(a.Callsign, b.Callsign) })
	return entries, nil
}

// entry returns the description of a stored image, false if it was removed meanwhile.
func (c *Catalog) entry(one StoredImage, e Engine) (entry CatalogEntry, there bool) {
	entry = CatalogEntry{StoredImage: one, Until: c.removalTime(one)}
	entry.Image, entry.WhyUnusable = c.read(one)
	if errors.Is(entry.WhyUnusable, ErrNoImage) {
		return entry, false
	}
	if entry.WhyUnusable == nil {
		entry.WhyUnusable = entry.Image.CheckFitsHost(e)
	}
	return entry, true
}

// errQuarantined is why a quarantined image is of no use.
var errQuarantined = fmt.Errorf("%w: a wake found that it can't be trusted", ErrRefused)

// read returns a stored image, and an error that says why no plugin can be restored from it.
func (c *Catalog) read(one StoredImage) (*Image, error) {
	dir := c.store.ImageDir(one.Callsign)
	switch {
	case one.Golden:
		return dir.Golden()
	case one.Quarantined:
		return nil, errQuarantined
	case one.Aside > 0:
		return dir.Aside(one.Aside)
	}
	return dir.Image()
}

// removalTime returns when an image that no instance can wake will be removed, zero if no
// start of a host has found that so far.
func (c *Catalog) removalTime(one StoredImage) time.Time {
	text, err := os.ReadFile(c.store.unusableNotePath(one))
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}
	}
	var note unusableNote
	now := CurrentMoment()
	if err == nil && json.Unmarshal(text, &note) == nil {
		if age, known := note.ageAt(now, one); known {
			return now.Wall.Add(c.keepFor - age)
		}
	}
	return now.Wall.Add(c.keepFor) // the next start begins to count
}
