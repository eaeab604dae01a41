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
	"dormouse/internal/procfs"
)

// Slot holds at most one image of one instance, and one golden image. Its methods
// are called by one goroutine at a time, save for Golden.
type Slot struct {
	store    *Store
	callsign string
	dir      string
}

// Image is a committed image, or the record of a tree that sleeps in place.
type Image struct {
	// Engine is the name, with its version, of what made it.
	Engine  string
	Bytes   int64
	Created time.Time
	// InPlace means that there are no files: the tree itself is still there, and
	// ends with the host.
	InPlace bool
	// Generation numbers the instance's images; it only grows. That of a golden image
	// is the one with which the next life begins that is restored from it.
	Generation uint64

	slot     *Slot
	manifest manifest
}

// Record is what the tree's owner put beside it.
func (i *Image) Record() json.RawMessage { return i.manifest.Record }

// Age is how long ago the image was made. After a reboot it is as good as the wall
// clock, within one boot it does not depend on that. It is never negative.
func (i *Image) Age() time.Duration {
	if i.manifest.Uptime > 0 && i.manifest.BootID == procfs.BootID() {
		return max(0, uptime()-i.manifest.Uptime)
	}
	return max(0, time.Since(i.Created))
}

// Locked returns an ErrKey if the host does not have the key that the image was
// encrypted with. Such an image is not refused: a host that has the key can wake it.
func (i *Image) Locked() error {
	if i == nil {
		return nil
	}
	return i.manifest.Packing.CheckKey(i.slot.store.packing.Key)
}

// path joins names to the directory of the image.
func (i *Image) path(names ...string) string {
	return i.slot.path(append([]string{i.manifest.place()}, names...)...)
}

// path joins names to the slot's directory.
func (s *Slot) path(names ...string) string {
	return filepath.Join(append([]string{s.dir}, names...)...)
}

// Image returns the committed image, or ErrNoImage. It returns ErrRefused when
// what lies there is not the image that this host last committed for this
// instance, or was woken before.
func (s *Slot) Image() (*Image, error) {
	m, err := s.manifest(imageName)
	if err != nil {
		return nil, err
	}
	used, err := s.used()
	switch {
	case err != nil:
		return nil, err
	case m.Generation == used && used > 0:
		return nil, fmt.Errorf("%w: generation %d was woken already", ErrSpent, used)
	case m.Generation <= used:
		return nil, fmt.Errorf("%w: it is generation %d, and generation %d was woken already", ErrRefused, m.Generation, used)
	case m.Generation != used+1:
		return nil, fmt.Errorf("%w: it is generation %d, expected was %d", ErrRefused, m.Generation, used+1)
	}
	return m.image(s), nil
}

// manifest reads what lies in the place of an image, and makes sure that this host
// put it there.
func (s *Slot) manifest(place string) (*manifest, error) {
	m := &manifest{}
	err := readSealed(s.path(place, manifestName), s.store.key, m)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(s.path(place)); err == nil {
			return nil, fmt.Errorf("%w: it has no manifest", ErrRefused)
		}
		return nil, ErrNoImage
	}
	switch {
	case err != nil:
		return nil, err
	case m.Format != format:
		return nil, fmt.Errorf("%w: it has format %d, this host reads format %d", ErrRefused, m.Format, format)
	case m.Callsign != s.callsign:
		return nil, fmt.Errorf("%w: it belongs to %s", ErrRefused, m.Callsign)
	case m.place() != place:
		return nil, fmt.Errorf("%w: it was written as the %s image", ErrRefused, m.kind())
	}
	return m, nil
}

// used returns the highest generation that was ever woken, 0 for none.
func (s *Slot) used() (uint64, error) {
	var used uint64
	err := readSealed(s.path(generationName), s.store.key, &used)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return used, err
}

// consume makes it impossible to wake generation g, or an older one, again.
func (s *Slot) consume(g uint64) error {
	if err := s.prepareConsume(g); err != nil {
		return err
	}
	return s.finishConsume()
}

// prepareConsume does the part of consume that changes nothing yet. A checkpoint
// does it ahead, so that the wake finds it done and needs no space.
func (s *Slot) prepareConsume(g uint64) error {
	var prepared uint64
	if err := readSealed(s.path(generationNew), s.store.key, &prepared); err == nil && prepared == g {
		return nil
	}
	return writeSealed(s.path(generationNew), s.store.key, g)
}

func (s *Slot) finishConsume() error {
	if err := os.Rename(s.path(generationNew), s.path(generationName)); err != nil {
		return err
	}
	return atomicfile.SyncDir(s.dir)
}

// draft makes the directory for a new image.
func (s *Slot) draft() (string, error) {
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return "", err
	}
	return os.MkdirTemp(s.dir, draftPrefix)
}

// Discard removes the image. It may have been restored.
func (i *Image) Discard() error {
	return i.slot.store.trash(i.path())
}

// Clear removes an image that was woken; see ErrSpent.
func (s *Slot) Clear() error { return s.store.trash(s.path(imageName)) }

// Drop gives the image up unused: neither it nor a copy can be woken any more.
func (i *Image) Drop() error {
	if i.manifest.Golden {
		return i.slot.DropGolden()
	}
	return errors.Join(i.slot.consume(i.manifest.Generation), i.Discard())
}

// Refuse takes whatever lies in the slot out of use for ever and keeps it, as
// the only one, for whoever wants to find out why. What can't be done of it does
// not keep the rest from being done: the image must not stay where it is.
func (s *Slot) Refuse() error {
	var errs []error
	if used, err := s.used(); err == nil {
		errs = append(errs, s.consume(used+1))
	}
	if _, err := os.Lstat(s.path(refusedName)); err == nil {
		errs = append(errs, s.store.trash(s.path(refusedName)))
	}
	if err := os.Rename(s.path(imageName), s.path(refusedName)); !errors.Is(err, fs.ErrNotExist) {
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// Remove deletes all that is kept of an instance that is gone for good.
func (s *Slot) Remove() error { return os.RemoveAll(s.dir) }

// Written returns how many bytes the image that is being written has so far.
func (s *Slot) Written() int64 {
	files, _ := filepath.Glob(s.path(draftPrefix+"*", "*"))
	var total int64
	for _, path := range files {
		if info, err := os.Lstat(path); err == nil {
			total += info.Size()
		}
	}
	return total
}
