package hibernate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"dormouse/internal/atomicfile"
	"dormouse/internal/failpoint"
	"dormouse/internal/filenames"
)

// KeepFor is how long an image is kept that no instance can wake: the operator may want to
// put it back, to find out what happened to it, or may have left the instance out of the
// configuration by mistake.
const KeepFor = 7 * 24 * time.Hour

// Kept says in which directory an image is kept, and until when.
type Kept struct {
	Path  string
	Until time.Time
}

// Quarantine makes the image (not the golden image) unusable for ever and keeps it for
// inspection. It deletes an image that is in quarantine already. After an error in one step
// the next steps are still tried, so that the image does not stay usable.
func (d *ImageDir) Quarantine() (Kept, error) {
	err := d.giveUpUnread()
	kept, kerr := d.keepAs(StoredImage{Callsign: d.callsign, Quarantined: true})
	return kept, errors.Join(err, kerr)
}

// giveUpUnread makes the image, whose generation can't be believed, unusable for ever: only
// the next image, and those that lie aside, can be woken.
func (d *ImageDir) giveUpUnread() error {
	aside := d.generationsAside()
	err := d.store.changeGenerationRecord(d.callsign, func(r generationRecord) generationRecord {
		r.Aside = slices.DeleteFunc(slices.Clone(r.Aside), func(g uint64) bool { return !slices.Contains(aside, g) })
		return r.afterEndOf(r.Used + 1)
	})
	if errors.Is(err, ErrRefused) { // no image is woken without a record
		return nil
	}
	return err
}

// PutAside takes the image (not the golden image) out of use, since it does not fit this host
// any more, and keeps it for KeepFor. PutBack undoes that. Later images get later generations.
func (d *ImageDir) PutAside() (Kept, error) {
	m, err := d.readAndCheckManifest(StoredImage{})
	if err == nil {
		err = d.store.changeGenerationRecord(d.callsign, func(r generationRecord) generationRecord { return r.afterPuttingAside(m.Generation) })
	}
	if err != nil {
		return Kept{}, fmt.Errorf("cannot put the image aside: %w", err)
	}
	failpoint.Hit("aside.recorded")
	return d.keepAs(StoredImage{Callsign: d.callsign, Aside: m.Generation})
}

// InvalidateAndDeleteUnread is Image.InvalidateAndDelete for an image that can't be read.
func (d *ImageDir) InvalidateAndDeleteUnread() error {
	err := d.giveUpUnread()
	derr := d.store.deleteInBackground(d.path(imageName))
	if errors.Is(derr, fs.ErrNotExist) {
		derr = nil
	}
	return errors.Join(err, derr)
}

// PutBack makes the image of that generation, which was put aside, the image of the instance
// again; it can then be woken once. The error is ErrNoImage if none was put aside. There must
// be no image of the instance, and no process.
func (d *ImageDir) PutBack(generation uint64) error {
	stored := StoredImage{Callsign: d.callsign, Aside: generation}
	from := d.path(stored.dirName())
	if _, err := os.Lstat(from); err != nil {
		return fmt.Errorf("cannot put generation %d back: %w", generation, ErrNoImage)
	}
	if _, err := os.Lstat(d.path(imageName)); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("cannot put generation %d back: %s has an image already", generation, d.callsign)
	}
	if err := os.Rename(from, d.path(imageName)); err != nil {
		return err
	}
	return errors.Join(atomicfile.SyncDir(d.base), d.store.removeUnusableNote(stored))
}

// Aside returns the description of the image of that generation, which was put aside, or
// ErrNoImage. It can't be restored before PutBack.
func (d *ImageDir) Aside(generation uint64) (*Image, error) {
	m, err := d.readAndCheckManifest(StoredImage{Aside: generation})
	if err != nil {
		return nil, err
	}
	return m.newImage(d), nil
}

// NewestAside returns the highest generation of the images that were put aside, or ErrNoImage.
func (d *ImageDir) NewestAside() (generation uint64, err error) {
	all := d.generationsAside()
	if len(all) == 0 {
		return 0, fmt.Errorf("%w that was put aside", ErrNoImage)
	}
	return slices.Max(all), nil
}

// generationsAside returns the generations of the images that are put aside.
func (d *ImageDir) generationsAside() (generations []uint64) {
	paths, _ := filenames.PathsIn(d.base, asidePrefix, "") // none if there is no directory
	for _, path := range paths {
		if g, err := strconv.ParseUint(strings.TrimPrefix(filepath.Base(path), asidePrefix), 10, 64); err == nil {
			generations = append(generations, g)
		}
	}
	return generations
}

// keepAs gives the directory of the image the name that it has as stored, and notes since
// when. An image of that name is deleted.
func (d *ImageDir) keepAs(stored StoredImage) (Kept, error) {
	path := d.path(stored.dirName())
	var errs []error
	if _, err := os.Lstat(path); err == nil {
		errs = append(errs, d.store.deleteInBackground(path))
	}
	if err := os.Rename(d.path(imageName), path); err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
		return Kept{}, errors.Join(errs...)
	}
	errs = append(errs, d.store.locks.giveUp(d.path(imageName)))
	now := CurrentMoment()
	if info, err := os.Lstat(path); err == nil {
		stored.Written = info.ModTime()
		_, err = d.store.readOrMakeUnusableNote(stored, now)
		errs = append(errs, err)
	}
	return Kept{path, now.Wall.Add(KeepFor)}, errors.Join(errs...)
}
