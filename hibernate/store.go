package hibernate

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"dormouse/hibernate/pack"
	"dormouse/internal/atomicfile"
	"dormouse/internal/filenames"
	"dormouse/internal/regularfile"
)

// Files and directories of a store:
//
//	.key                         32 random bytes; an image sealed with another key is foreign
//	.used/of-<callsign>          which generations of the instance were woken or given up
//	.used/next-<callsign>        the same after the next wake
//	.used/floor                  the highest generation of instances that are gone for good
//	<callsign>/image/            the committed image
//	<callsign>/image/manifest    the sealed manifest of the image
//	<callsign>/golden/           the golden image, with a manifest too
//	<callsign>/draft-*/          an image that is being written
//	<callsign>/draft-*.links     the note of its links, until it has a manifest
//	<callsign>/trash-*/          an image that is being deleted
//	<callsign>/refused/          the quarantine: the last image that could not be trusted
//	<callsign>/aside-<number>/   an image of that generation that did not fit this host any more
//	<callsign>/image.unusable    since when no instance can wake image; refused, golden and
//	                             aside-<number> have such notes, too
const (
	keyName        = ".key" // no callsign begins with a dot
	imageName      = "image"
	goldenName     = "golden"
	manifestName   = "manifest"
	draftPrefix    = "draft-"
	trashPrefix    = "trash-"
	quarantineName = "refused"
	asidePrefix    = "aside-"
	unusableSuffix = ".unusable"
)

// Store is the directory of all images of a host.
type Store struct {
	dir        string
	key        []byte
	unsavedKey bool // the key is not on disk yet, guarded by mu
	limits     Limits
	packing    pack.Options
	writers    chan struct{} // holds one value for each image being written, nil for any number
	background sync.WaitGroup
	used       usedGenerations
	locks      heldLocks

	mu              sync.Mutex
	reserved        map[*ImageDir]int64 // bytes of disk for images that are being written
	goldenEvictions map[string]bool     // callsigns whose golden image was removed to make room
}

// KeyPath returns the path of the key that seals the images of the store in dir.
func KeyPath(dir string) string { return filepath.Join(dir, keyName) }

// IsStore reports whether OpenStore has made dir before.
func IsStore(dir string) bool {
	info, err := os.Lstat(KeyPath(dir))
	return err == nil && info.Mode().IsRegular()
}

// OpenStore opens the store in dir, which it makes if there is none, and deletes the drafts
// and the trash of an earlier host.
func OpenStore(dir string) (_ *Store, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("cannot open the image store: %w", err)
		}
	}()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := os.Chmod(dir, 0o700); err != nil { // images hold the plugins' memory
		return nil, err
	}
	key, err := readOrMakeStoreKey(filepath.Join(dir, keyName))
	unsaved := atomicfile.IsNoRoom(err) // saveKey tries again before the first image is made
	if err != nil && !unsaved {
		return nil, err
	}
	if err := removeDraftsAndTrash(dir, key); err != nil {
		return nil, err
	}
	s := &Store{dir: dir, key: key, unsavedKey: unsaved, reserved: make(map[*ImageDir]int64), goldenEvictions: make(map[string]bool)}
	return s, s.takeOverOldGenerations()
}

// saveKey writes the key to disk unless it is there. No image may be made before.
func (s *Store) saveKey() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.unsavedKey {
		return nil
	}
	if err := atomicfile.Write(filepath.Join(s.dir, keyName), s.key, 0o600); err != nil {
		return fmt.Errorf("cannot store the key that seals images: %w", err)
	}
	s.unsavedKey = false
	return nil
}

// removeDraftsAndTrash deletes the drafts and the trash in a store's directory.
func removeDraftsAndTrash(dir string, key []byte) error {
	instances, err := filenames.PathsIn(dir, "", "")
	for _, instance := range instances {
		for _, prefix := range []string{draftPrefix, trashPrefix} {
			left, _ := filenames.PathsIn(instance, prefix, "") // it may be a file
			for _, path := range left {
				err = errors.Join(err, removeWithLinks(path, key))
			}
		}
	}
	return err
}

// readOrMakeStoreKey returns the key that seals the images, from the file at path. It makes
// a key and the file if there is none. The key is valid also if only the write failed for want
// of room.
func readOrMakeStoreKey(path string) ([]byte, error) {
	key, err := regularfile.Read(path, 1<<10)
	if errors.Is(err, os.ErrNotExist) {
		key = make([]byte, 32)
		_, _ = rand.Read(key) // never fails, see crypto/rand
		return key, atomicfile.Write(path, key, 0o600)
	}
	if err == nil && len(key) != 32 {
		return nil, fmt.Errorf("%s has %d bytes, not 32; without the right key no image can be woken", path, len(key))
	}
	return key, err
}

// Close returns when all deleted images are gone from the disk, and the engines of all
// wakes have ended. It gives up the locks of sleeping trees.
func (s *Store) Close() {
	s.background.Wait()
	_ = s.locks.giveAllUp() // they end with this process at the latest
}

// SetPacking sets how all later images are packed. Older images can be woken as long as the
// key is the same. SetPacking must not be called during a checkpoint.
func (s *Store) SetPacking(o pack.Options) { s.packing = o }

// ImageDir returns the directory of an instance's images, which need not exist yet.
func (s *Store) ImageDir(callsign string) *ImageDir {
	return &ImageDir{store: s, callsign: callsign, base: filepath.Join(s.dir, callsign)}
}

// deleteInBackground makes path vanish at once and frees its blocks in the background, which
// can take longer than a wake. If the disk is full it deletes path before it returns.
func (s *Store) deleteInBackground(path string) error {
	_ = s.locks.giveUp(path) // nothing is written by them
	trash, err := os.MkdirTemp(filepath.Dir(path), trashPrefix)
	if errors.Is(err, syscall.ENOSPC) {
		return removeWithLinks(path, s.key)
	}
	if err != nil {
		return err
	}
	if err := os.Rename(path, filepath.Join(trash, filepath.Base(path))); err != nil {
		return errors.Join(err, os.Remove(trash))
	}
	s.runInBackground(func() { _ = removeWithLinks(trash, s.key) }) // OpenStore deletes what is left
	return nil
}

// runInBackground runs work in a goroutine that no caller waits for, except for Close.
func (s *Store) runInBackground(work func()) { s.background.Go(work) }

// newImageID returns a random ID, which no other image has.
func newImageID() string { return strings.ToLower(rand.Text()) }
