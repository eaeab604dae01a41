package hibernate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"dormouse/internal/bytesize"
	"dormouse/internal/filenames"
	"dormouse/internal/procfs"
	"dormouse/internal/timelimit"
)

// Limits bound what all images of a host take together. The zero value has no limits
// except for the free space on the disk.
type Limits struct {
	// Budget is how many bytes all images may take, 0 for any. Reserve is how many bytes
	// must stay free on their disk.
	Budget, Reserve int64
	// Parallel is how many images may be written at the same time, 0 for any number.
	Parallel int
	// Evict deactivates the instance with the oldest image and removes that image. If it
	// is nil a checkpoint beyond the budget is refused.
	Evict func(ctx context.Context, callsign string) error
	// GoldenEvicted is called after the store has removed a golden image to make room,
	// for the reason why. It may be nil.
	GoldenEvicted func(golden StoredImage, why error)
	// IsMissing reports whether there may be an instance of that callsign although the host
	// does not know it. Its images are never removed to make room. Nil: there is none.
	IsMissing func(callsign string) bool
}

// SetLimits sets the limits of all later checkpoints. It must not be called during a
// checkpoint.
func (s *Store) SetLimits(l Limits) {
	s.limits, s.writers = l, nil
	if l.Parallel > 0 {
		s.writers = make(chan struct{}, l.Parallel)
	}
}

// StoredImage describes an image in a store, as it is found on disk.
type StoredImage struct {
	Callsign string
	Bytes    int64
	Written  time.Time
	// Quarantined images will never be woken. Golden images hold no instance's state.
	Quarantined, Golden bool
	// Aside is the generation of an image that was put aside, see ImageDir.PutAside; 0 for
	// other images.
	Aside uint64
}

// dirName returns the name of the image's directory in the directory of its instance.
func (s StoredImage) dirName() string {
	switch {
	case s.Quarantined:
		return quarantineName
	case s.Golden:
		return goldenName
	case s.Aside > 0:
		return asidePrefix + strconv.FormatUint(s.Aside, 10)
	}
	return imageName
}

// IsOutOfUse reports whether no wake uses the image: it is quarantined or was put aside.
func (s StoredImage) IsOutOfUse() bool { return s.Quarantined || s.Aside > 0 }

// String returns the callsign, the size, and whether the image is quarantined, golden or put
// aside.
func (s StoredImage) String() string {
	switch {
	case s.Quarantined:
		return fmt.Sprintf("%s %s (refused)", s.Callsign, bytesize.Format(s.Bytes))
	case s.Golden:
		return fmt.Sprintf("%s %s (golden)", s.Callsign, bytesize.Format(s.Bytes))
	case s.Aside > 0:
		return fmt.Sprintf("%s %s (put aside)", s.Callsign, bytesize.Format(s.Bytes))
	}
	return s.Callsign + " " + bytesize.Format(s.Bytes)
}

// ListInEvictionOrder returns the images: golden ones first, and the oldest first of each
// kind.
func (s *Store) ListInEvictionOrder() ([]StoredImage, error) {
	var all []StoredImage
	instances, err := filenames.PathsIn(s.dir, "", "")
	if err != nil {
		return nil, err
	}
	for _, instance := range instances {
		callsign := filepath.Base(instance)
		kinds := []StoredImage{{}, {Quarantined: true}, {Golden: true}}
		for _, generation := range s.ImageDir(callsign).generationsAside() {
			kinds = append(kinds, StoredImage{Aside: generation})
		}
		for _, one := range kinds {
			dir := filepath.Join(instance, one.dirName())
			info, err := os.Stat(dir)
			if errors.Is(err, os.ErrNotExist) || errors.Is(err, unix.ENOTDIR) {
				continue // there is none, or the key of the store is no instance
			}
			if err != nil {
				return nil, err
			}
			one.Callsign, one.Bytes, one.Written = callsign, sizeOfReadableFiles(dir), info.ModTime()
			all = append(all, one)
		}
	}
	slices.SortFunc(all, func(a, b StoredImage) int {
		switch {
		case a.Golden && !b.Golden:
			return -1
		case b.Golden && !a.Golden:
			return 1
		}
		return cmp.Or(a.Written.Compare(b.Written), cmp.Compare(a.Callsign, b.Callsign))
	})
	return all, nil
}

// sizeOfReadableFiles returns the size of all files in a directory together, without those
// that can't be read.
func sizeOfReadableFiles(dir string) (total int64) {
	entries, _ := os.ReadDir(dir)
	for _, entry := range entries {
		if info, err := entry.Info(); err == nil {
			total += info.Size()
		}
	}
	return total
}

// makeRoomAndReserve waits until an image of the tree may be written, and reserves the space
// that it may need until release is called. If the limits allow that, it removes older
// images to make room, but none for a golden image. The error wraps ErrBudget, ErrSpace
// or the error of ctx.
func (s *Store) makeRoomAndReserve(ctx context.Context, dir *ImageDir, treePIDs []int, forGolden bool) (release func(), err error) {
	if s.writers != nil {
		select {
		case s.writers <- struct{}{}:
		case <-ctx.Done():
			return nil, fmt.Errorf("%d other images are being written: %w", cap(s.writers), timelimit.EndError(ctx))
		}
	}
	release = func() {
		s.mu.Lock()
		delete(s.reserved, dir)
		s.mu.Unlock()
		if s.writers != nil {
			<-s.writers
		}
	}
	for {
		toEvict, err := s.tryReserveSpace(dir, treePIDs)
		if err == nil {
			return release, nil
		}
		if forGolden || toEvict.Callsign == "" || s.limits.Evict == nil && !toEvict.Golden {
			release()
			return nil, err
		}
		if err := s.evictImage(ctx, toEvict, err); err != nil {
			release()
			return nil, err
		}
	}
}

// evictImage removes a stored image to make room for another image, which lacks room
// because of why. It deletes an image that is golden or out of use itself; for any other image
// it calls Evict of the limits.
func (s *Store) evictImage(ctx context.Context, stored StoredImage, why error) error {
	if stored.Golden {
		return s.evictGoldenAndNotify(stored, why)
	}
	dir := s.ImageDir(stored.Callsign)
	if stored.IsOutOfUse() {
		return s.invalidateAndDelete(stored)
	}
	if err := s.limits.Evict(ctx, stored.Callsign); err != nil {
		return fmt.Errorf("%w; and %s can't make room: %w", why, stored.Callsign, err)
	}
	if _, err := os.Lstat(dir.path(imageName)); err == nil {
		return fmt.Errorf("%w; and %s still has its image", why, stored.Callsign)
	}
	return nil
}

// tryReserveSpace reserves space for an image of the tree, or returns an ErrBudget or
// ErrSpace at once. With the error it returns the image to evict before the next attempt,
// an empty one if no eviction would help.
func (s *Store) tryReserveSpace(dir *ImageDir, treePIDs []int) (toEvict StoredImage, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	need, err := s.estimateAndCheckDiskSpace(dir, treePIDs)
	if errors.Is(err, ErrSpace) {
		if stored, serr := s.ListInEvictionOrder(); serr == nil {
			if first := s.firstEvictable(stored); first.Golden {
				toEvict = first
			}
		}
	}
	if err != nil {
		return toEvict, err
	}
	if s.limits.Budget > 0 {
		stored, err := s.ListInEvictionOrder()
		if err != nil {
			return StoredImage{}, err
		}
		if err := s.checkBudget(stored, need); err != nil {
			if need <= s.limits.Budget {
				toEvict = s.firstEvictable(stored)
			}
			return toEvict, err
		}
	}
	s.reserved[dir] = need
	return StoredImage{}, nil
}

// firstEvictable returns the first image that may be removed to make room, an empty one if
// there is none.
func (s *Store) firstEvictable(stored []StoredImage) StoredImage {
	for _, one := range stored {
		if s.limits.IsMissing == nil || !s.limits.IsMissing(one.Callsign) {
			return one
		}
	}
	return StoredImage{}
}

// checkBudget returns an ErrBudget if the stored images, those being written and one more
// of need bytes exceed the budget. The error lists the images. The caller holds s.mu.
func (s *Store) checkBudget(stored []StoredImage, need int64) error {
	total := need
	var users []string
	for _, one := range stored {
		total += one.Bytes
		users = append(users, one.String())
	}
	for dir, bytes := range s.reserved {
		total += bytes
		users = append(users, fmt.Sprintf("%s %s (being written)", dir.callsign, bytesize.Format(bytes)))
	}
	if total <= s.limits.Budget {
		return nil
	}
	used := "nothing is used yet"
	if len(users) > 0 {
		used = "in use: " + strings.Join(users, ", ")
	}
	return fmt.Errorf("%w: the image needs about %s, [hibernate] budget is %s, %s; raise it, wake one of them, or set on-budget = \"evict\"",
		ErrBudget, bytesize.Format(need), bytesize.Format(s.limits.Budget), used)
}

// estimateAndCheckDiskSpace returns how many bytes an image of the tree may need, and an
// ErrSpace if the disk has less room besides the reserve and the images being written. An
// image is about as large as the part of the tree's memory that no file holds. The caller
// holds s.mu.
func (s *Store) estimateAndCheckDiskSpace(dir *ImageDir, treePIDs []int) (need int64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(s.dir, &fs); err != nil {
		return 0, err
	}
	free := int64(fs.Bavail)*fs.Bsize - s.limits.Reserve
	for other, bytes := range s.reserved {
		if other != dir {
			free -= max(0, bytes-other.DraftBytes())
		}
	}
	if s.limits.Budget == 0 {
		if need := procfs.RSS(treePIDs) + imageOverhead; need <= free { // an upper bound that is quick to read
			return need, nil
		}
	}
	need = procfs.UnbackedBytes(treePIDs) + imageOverhead
	if need > free {
		return need, fmt.Errorf("%w: the image needs about %s, %s has %s free besides [hibernate] reserve of %s; free some, or lower that",
			ErrSpace, bytesize.Format(need), s.dir, bytesize.Format(max(0, free)), bytesize.Format(s.limits.Reserve))
	}
	return need, nil
}
