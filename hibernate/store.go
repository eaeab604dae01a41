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
)

// What lies in a store:
//
//	.key                         32 random bytes; images sealed with others are foreign
//	<callsign>/generation        the highest generation that was ever woken
//	<callsign>/generation.new    what it will be after the next wake
//	<callsign>/image/            the committed image
//	<callsign>/image/manifest    what it is, sealed
//	<callsign>/golden/           the golden image, likewise
//	<callsign>/draft-*/          an image that is being written
//	<callsign>/trash-*/          an image that is being removed
//	<callsign>/refused/          the last image that could not be woken
const (
	keyName        = ".key" // no callsign begins with a dot
	generationName = "generation"
	generationNew  = "generation.new"
	imageName      = "image"
	goldenName     = "golden"
	manifestName   = "manifest"
	draftPrefix    = "draft-"
	trashPrefix    = "trash-"
	refusedName    = "refused"
)

// Store is the directory of all images of a host.
type Store struct {
	dir      string
	key      []byte
	limits   Limits
	packing  pack.Options
	turns    chan struct{} // nil for any number of images at the same time
	removing sync.WaitGroup

	mu      sync.Mutex
	pending map[*Slot]int64  // what is set aside for images that are being written
	gone    map[string]error // why golden images went that made room, by callsign
}

// OpenStore makes dir a store unless it is one, and removes what an earlier
// host left unfinished.
func OpenStore(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cannot open the image store: %w", err)
	}
	if err := os.Chmod(dir, 0o700); err != nil { // images hold the plugins' memory
		return nil, fmt.Errorf("cannot open the image store: %w", err)
	}
	key, err := readKey(filepath.Join(dir, keyName))
	if err != nil {
		return nil, fmt.Errorf("cannot open the image store: %w", err)
	}
	for _, prefix := range []string{draftPrefix, trashPrefix} {
		left, _ := filepath.Glob(filepath.Join(dir, "*", prefix+"*"))
		for _, path := range left {
			if err := os.RemoveAll(path); err != nil {
				return nil, fmt.Errorf("cannot open the image store: %w", err)
			}
		}
	}
	return &Store{dir: dir, key: key, pending: make(map[*Slot]int64), gone: make(map[string]error)}, nil
}

func readKey(path string) ([]byte, error) {
	key, err := os.ReadFile(path)
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

// Close returns when everything that was discarded is gone from the disk, and the
// engines of all wakes have ended.
func (s *Store) Close() { s.removing.Wait() }

// SetPacking sets how all later images are packed. Images of before can be woken as long
// as the key is the same. It must not be called during a checkpoint.
func (s *Store) SetPacking(o pack.Options) { s.packing = o }

// Slot returns the place of an instance's image.
func (s *Store) Slot(callsign string) *Slot {
	return &Slot{store: s, callsign: callsign, dir: filepath.Join(s.dir, callsign)}
}

// trash makes path vanish at once and frees its blocks in the background, which
// can take longer than a wake. On a disk that is full it takes that time.
func (s *Store) trash(path string) error {
	gone, err := os.MkdirTemp(filepath.Dir(path), trashPrefix)
	if errors.Is(err, syscall.ENOSPC) {
		return os.RemoveAll(path)
	}
	if err != nil {
		return err
	}
	if err := os.Rename(path, filepath.Join(gone, filepath.Base(path))); err != nil {
		return errors.Join(err, os.Remove(gone))
	}
	s.later(func() { _ = os.RemoveAll(gone) }) // what is left goes at the next OpenStore
	return nil
}

// later tidies up when nobody waits for it any more, but before Close returns.
func (s *Store) later(tidy func()) { s.removing.Go(tidy) }

// newID names an image, unique for ever.
func newID() string { return strings.ToLower(rand.Text()) }
