package hibernate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"dormouse/internal/filenames"
	"dormouse/internal/procfs"
)

// How an image goes away:
//
//	Discard               it was used: delete it
//	InvalidateAndDelete   it was not used: make it and all copies of it unusable for ever, delete it
//	PutAside              it does not fit this host any more: keep it, so that it can be put back
//	Quarantine            it is distrusted: make it unusable for ever, keep it for inspection
//	RemoveAll             its instance is gone for good: delete all that is kept of the instance
//	evict                 another image needs its space: a Store removes it, see Limits

// ImageDir is the directory of one instance's images: at most one image and one golden
// image. Only one goroutine at a time may call its methods, except for Golden.
type ImageDir struct {
	store    *Store
	callsign string
	base     string
}

// Image is a committed image.
type Image struct {
	// Engine is the name, with its version, of the engine that made the image.
	Engine string
	// Bytes is how many bytes the files have, or had before they were packed.
	Bytes   int64
	Created time.Time
	// Generation numbers the instance's images; it only grows. The generation of a
	// golden image is the one that the next restore of that image will use up.
	Generation uint64

	dir      *ImageDir
	manifest manifest
}

// StoredBytes returns how many bytes the files have on disk.
func (i *Image) StoredBytes() (total int64) {
	for _, f := range i.manifest.Files {
		total += f.StoredSize()
	}
	return total
}

// OwnerRecord returns what Tree.OwnerRecord returned when the image was made.
func (i *Image) OwnerRecord() json.RawMessage { return i.manifest.Record }

// Age returns how long ago the image was made, never less than zero. Within one boot it
// does not depend on the wall clock.
func (i *Image) Age() time.Duration {
	if i.manifest.Uptime > 0 && i.manifest.BootID == procfs.BootID() {
		return max(0, timeSinceBoot()-i.manifest.Uptime)
	}
	return max(0, time.Since(i.Created))
}

// CheckHostHasKey returns an ErrKey if the host does not have the key that the image was
// encrypted with. Such an image is not refused: a host that has the key can wake it.
func (i *Image) CheckHostHasKey() error {
	return i.manifest.Packing.CheckHostKey(i.dir.store.packing.Key)
}

// path returns the path of names joined, below the directory of the image.
func (i *Image) path(names ...string) string {
	return i.dir.path(append([]string{i.manifest.imageDirName()}, names...)...)
}

// path returns the path of names joined, below the instance's directory.
func (d *ImageDir) path(names ...string) string {
	return filepath.Join(append([]string{d.base}, names...)...)
}

// Image returns the committed image, or ErrNoImage. It returns ErrRefused if what is
// stored there is not the image that this host last committed for this instance, and
// ErrSpent if that image was woken before.
func (d *ImageDir) Image() (*Image, error) {
	m, err := d.readAndCheckManifest(StoredImage{})
	if err != nil {
		return nil, err
	}
	record, found, err := d.store.generationRecord(d.callsign)
	if err == nil && !found {
		err = fmt.Errorf("%w: the store does not know which images of %s were woken", ErrRefused, d.callsign)
	}
	if err == nil {
		err = record.checkMayBeWoken(m.Generation)
	}
	if err != nil {
		return nil, err
	}
	return m.newImage(d), nil
}

// readAndCheckManifest reads the manifest of a stored image: the ordinary, the golden or one
// that was put aside. The error is ErrNoImage if there is no such image, and wraps ErrRefused
// if this host did not write the manifest for such an image of this instance.
func (d *ImageDir) readAndCheckManifest(stored StoredImage) (*manifest, error) {
	m, dirName := &manifest{}, stored.dirName()
	err := readSealedJSON(d.path(dirName, manifestName), d.store.key, m)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(d.path(dirName)); err == nil {
			return nil, fmt.Errorf("%w: it has no manifest", ErrRefused)
		}
		return nil, ErrNoImage
	}
	switch {
	case err != nil:
		return nil, err
	case m.Format != format:
		return nil, fmt.Errorf("%w: it has format %d, this host reads format %d", ErrRefused, m.Format, format)
	case m.Callsign != d.callsign:
		return nil, fmt.Errorf("%w: it belongs to %s", ErrRefused, m.Callsign)
	case m.Golden != stored.Golden:
		return nil, fmt.Errorf("%w: it was written as the %s image", ErrRefused, m.kindWord())
	}
	return m, nil
}

// makeDraftDir makes an empty directory for a new image, or for a scratch, and returns its
// path. OpenStore deletes it if it is left.
func (d *ImageDir) makeDraftDir() (path string, err error) {
	if err := os.MkdirAll(d.base, 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(d.base, draftPrefix)
}

// Discard deletes an image that was used.
func (i *Image) Discard() error { return i.dir.store.deleteInBackground(i.path()) }

// DiscardSpent deletes an image for which Image returned ErrSpent.
func (d *ImageDir) DiscardSpent() error { return d.store.deleteInBackground(d.path(imageName)) }

// InvalidateAndDelete deletes an image that was not used. Unless the image is golden, a copy
// of it can't be woken either.
func (i *Image) InvalidateAndDelete() error {
	if i.manifest.Golden {
		return i.dir.DiscardGolden()
	}
	return errors.Join(i.dir.giveUp(i.manifest.Generation), i.Discard())
}

// giveUp makes the image of that generation unusable for ever, and all copies of it.
func (d *ImageDir) giveUp(generation uint64) error {
	return d.store.changeGenerationRecord(d.callsign, func(r generationRecord) generationRecord { return r.afterEndOf(generation) })
}

// ImagePaths returns the directories of all images that are kept of the instance.
func (d *ImageDir) ImagePaths() (paths []string) {
	for _, name := range []string{imageName, goldenName, quarantineName} {
		if _, err := os.Lstat(d.path(name)); err == nil {
			paths = append(paths, d.path(name))
		}
	}
	for _, generation := range d.generationsAside() {
		paths = append(paths, d.path(StoredImage{Aside: generation}.dirName()))
	}
	return paths
}

// RemoveAll deletes all that is kept of an instance that is gone for good.
func (d *ImageDir) RemoveAll() error {
	return errors.Join(d.store.locks.giveUp(d.path(imageName)), removeWithLinks(d.base, d.store.key), d.store.removeGenerationRecord(d.callsign))
}

// DraftBytes returns how many bytes the image that is being written has on disk so far, 0
// if none is being written.
func (d *ImageDir) DraftBytes() (total int64) {
	drafts, _ := filenames.PathsIn(d.base, draftPrefix, "")
	for _, draft := range drafts {
		total += sizeOfReadableFiles(draft)
	}
	return total
}
