package hibernate

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"dormouse/internal/atomicfile"
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
	m, err := d.readAndCheckManifest(imageName)
	if err != nil {
		return nil, err
	}
	used, err := d.highestUsedGeneration()
	switch {
	case err != nil:
		return nil, err
	case m.Generation == used && used > 0:
		return nil, fmt.Errorf("%w: generation %d was woken already", ErrSpent, used)
	case m.Generation <= used:
		return nil, fmt.Errorf("%w: it is generation %d, and generation %d was woken already", ErrRefused, m.Generation, used)
	case m.Generation != used+1:
		return nil, fmt.Errorf("%w: it is generation %d, not %d as expected", ErrRefused, m.Generation, used+1)
	}
	return m.newImage(d), nil
}

// readAndCheckManifest reads the manifest of the image in the directory imageName or
// goldenName. The error is ErrNoImage if there is no image, and wraps ErrRefused if this host
// did not write the manifest for that directory of this instance.
func (d *ImageDir) readAndCheckManifest(dirName string) (*manifest, error) {
	m := &manifest{}
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
	case m.imageDirName() != dirName:
		return nil, fmt.Errorf("%w: it was written as the %s image", ErrRefused, m.kindWord())
	}
	return m, nil
}

// highestUsedGeneration returns the highest generation that was ever woken or invalidated, 0
// for none. The error wraps ErrRefused if this host did not write that.
func (d *ImageDir) highestUsedGeneration() (uint64, error) {
	var used uint64
	err := readSealedJSON(d.path(generationName), d.store.key, &used)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return used, err
}

// invalidateUpTo makes images of that generation, and of all older ones, unusable for ever.
func (d *ImageDir) invalidateUpTo(generation uint64) error {
	if err := d.writeNextGenerationFile(generation); err != nil {
		return err
	}
	return d.commitNextGenerationFile()
}

// writeNextGenerationFile writes the generation into a file that changes nothing before
// commitNextGenerationFile, unless the file has it already. A checkpoint does that, so that
// the wake needs no space on disk.
func (d *ImageDir) writeNextGenerationFile(generation uint64) error {
	var prepared uint64
	if err := readSealedJSON(d.path(generationNew), d.store.key, &prepared); err == nil && prepared == generation {
		return nil
	}
	return writeSealedJSON(d.path(generationNew), d.store.key, generation)
}

// commitNextGenerationFile makes the prepared generation the highest used one, durably.
func (d *ImageDir) commitNextGenerationFile() error {
	if err := os.Rename(d.path(generationNew), d.path(generationName)); err != nil {
		return err
	}
	return atomicfile.SyncDir(d.base)
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
	return errors.Join(i.dir.invalidateUpTo(i.manifest.Generation), i.Discard())
}

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
func (d *ImageDir) Quarantine() (Kept, error) { return d.keepUnderName(quarantineName) }

// PutAside takes the image (not the golden image), which is good but does not fit this host
// any more, out of use and keeps it. It deletes an image that was put aside before.
func (d *ImageDir) PutAside() (Kept, error) { return d.keepUnderName(asideName) }

// keepUnderName makes the image unusable and gives its directory that name. An image of that
// name is deleted.
func (d *ImageDir) keepUnderName(name string) (Kept, error) {
	var errs []error
	if used, err := d.highestUsedGeneration(); err == nil {
		errs = append(errs, d.invalidateUpTo(used+1))
	}
	if _, err := os.Lstat(d.path(name)); err == nil {
		errs = append(errs, d.store.deleteInBackground(d.path(name)))
	}
	if err := os.Rename(d.path(imageName), d.path(name)); !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return Kept{d.path(name), time.Now().Add(KeepFor)}, errors.Join(errs...)
}

// ImagePaths returns the directories of all images that are kept of the instance.
func (d *ImageDir) ImagePaths() (paths []string) {
	for _, name := range []string{imageName, goldenName, quarantineName} {
		if _, err := os.Lstat(d.path(name)); err == nil {
			paths = append(paths, d.path(name))
		}
	}
	return paths
}

// RemoveAll deletes all that is kept of an instance that is gone for good.
func (d *ImageDir) RemoveAll() error { return removeWithLinks(d.base, d.store.key) }

// DraftBytes returns how many bytes the image that is being written has on disk so far, 0
// if none is being written.
func (d *ImageDir) DraftBytes() (total int64) {
	drafts, _ := filenames.PathsIn(d.base, draftPrefix, "")
	for _, draft := range drafts {
		total += sizeOfReadableFiles(draft)
	}
	return total
}
