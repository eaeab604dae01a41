package hibernate

import (
	"context"
	"errors"
	"fmt"
	"os"

	"dormouse/internal/procfs"
)

// A golden image is what a tree was at one moment, for any number of lives to begin
// from. It is never the truth of an instance, and gives way to every other image.

// Preserve makes the tree the golden image of slot, where there must be none, and
// lets it run on. After an error there is no golden image and the tree runs as before;
// if that can't be had either, the error is Revive's as well.
func Preserve(ctx context.Context, e Engine, slot *Slot, t Tree) (*Image, error) {
	image, err := take(ctx, e, slot, t, true)
	if err != nil {
		return nil, fmt.Errorf("cannot make the golden image: %w", err)
	}
	slot.store.forgive(slot)
	resume(procfs.Tree(t.PID()), image.manifest.Stopped)
	if err := t.Revive(context.WithoutCancel(ctx)); err != nil { // nor would a copy of it
		return nil, errors.Join(fmt.Errorf("cannot go on from the golden image: %w", err), slot.DropGolden())
	}
	return image, nil
}

// Golden returns the golden image, or ErrNoImage; after it had to make room for
// another, the error says so. It returns ErrRefused as Image does.
func (s *Slot) Golden() (*Image, error) {
	m, err := s.manifest(goldenName)
	if errors.Is(err, ErrNoImage) {
		s.store.mu.Lock()
		defer s.store.mu.Unlock()
		if why := s.store.gone[s.callsign]; why != nil {
			err = fmt.Errorf("%w: %w", err, why)
		}
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	if s.store.packing.Encrypt && !m.Packing.Encrypted() {
		return nil, fmt.Errorf("%w: it is not encrypted, as images are to be now", ErrRefused)
	}
	image := m.image(s)
	used, err := s.used()
	image.Generation = used + 1
	return image, err
}

// DropGolden removes the golden image if there is one. A life that is being restored
// from it either has all it needs, or fails.
func (s *Slot) DropGolden() error {
	if _, err := os.Lstat(s.path(goldenName)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return s.store.trash(s.path(goldenName))
}

// yield removes a golden image at once, to make room.
func (s *Store) yield(golden Stored, why error) error {
	if err := os.RemoveAll(s.Slot(golden.Callsign).path(goldenName)); err != nil {
		return fmt.Errorf("%w; and the golden image of %s can't make room: %w", why, golden.Callsign, err)
	}
	s.mu.Lock()
	s.gone[golden.Callsign] = errors.New("it was removed to make room for another")
	s.mu.Unlock()
	if s.limits.Yielded != nil {
		s.limits.Yielded(golden, why)
	}
	return nil
}

// forgive forgets why an earlier golden image went.
func (s *Store) forgive(slot *Slot) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.gone, slot.callsign)
}

// hasGolden tells whether there is any.
func (s *Store) hasGolden() bool {
	stored, err := s.Stored()
	return err == nil && len(stored) > 0 && stored[0].Golden
}
