package hibernate

import (
	"context"
	"errors"
	"fmt"
	"os"

	"dormouse/internal/ownedtree"
	"dormouse/internal/procfs"
)

// A golden image holds a tree as it was at one moment, and any number of activations may
// begin from it. It never holds an instance's state, and is removed when any other image
// needs its space.

// MakeGolden makes a golden image of the tree in dir, where there must be none, and lets
// the tree run on. After an error there is no golden image and the tree runs as before;
// if the tree can't run as before either, the error also wraps the error of t.Revive.
func MakeGolden(ctx context.Context, e Engine, dir *ImageDir, t Tree) (*Image, error) {
	if err := e.Check(ctx); err != nil {
		return nil, err
	}
	image, err := makeImageAndStopTree(ctx, e, dir, t, true)
	if err != nil {
		return nil, fmt.Errorf("cannot make the golden image: %w", err)
	}
	dir.store.forgetGoldenEviction(dir.callsign)
	continueExcept(procfs.Tree(t.PID()), image.manifest.Stopped)
	if err := t.Revive(context.WithoutCancel(ctx)); err != nil { // a tree restored from the image would not revive either
		return nil, errors.Join(fmt.Errorf("cannot let the tree run on after its golden image: %w", err), dir.DiscardGolden())
	}
	return image, nil
}

// Golden returns the golden image, or ErrNoImage. If the image was removed to make room for
// another one the error says so. Golden returns ErrRefused if this host did not write the
// image for this instance, or if images are to be encrypted now and this one is not.
func (d *ImageDir) Golden() (*Image, error) {
	m, err := d.readAndCheckManifest(StoredImage{Golden: true})
	if errors.Is(err, ErrNoImage) {
		d.store.mu.Lock()
		defer d.store.mu.Unlock()
		if d.store.goldenEvictions[d.callsign] {
			err = fmt.Errorf("%w: it was removed to make room for another", err)
		}
		return nil, err
	}
	if err != nil {
		return nil, err
	}
	if d.store.packing.Encrypt && !m.Packing.IsEncrypted() {
		return nil, fmt.Errorf("%w: it is not encrypted, and [hibernate] encrypt is set now", ErrRefused)
	}
	image := m.newImage(d)
	record, _, err := d.store.generationRecord(d.callsign)
	image.Generation = record.Used + 1
	return image, err
}

// DiscardGolden deletes the golden image if there is one. A restore of that image that is
// under way may fail.
func (d *ImageDir) DiscardGolden() error {
	if _, err := os.Lstat(d.path(goldenName)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return d.store.deleteInBackground(d.path(goldenName))
}

// evictGoldenAndNotify deletes a golden image at once, to make room for another image, which
// lacks room because of why. It remembers that for Golden, and calls GoldenEvicted of the
// limits.
func (s *Store) evictGoldenAndNotify(golden StoredImage, why error) error {
	if err := ownedtree.Remove(s.ImageDir(golden.Callsign).path(goldenName)); err != nil {
		return fmt.Errorf("%w; and the golden image of %s can't make room: %w", why, golden.Callsign, err)
	}
	s.mu.Lock()
	s.goldenEvictions[golden.Callsign] = true
	s.mu.Unlock()
	if s.limits.GoldenEvicted != nil {
		s.limits.GoldenEvicted(golden, why)
	}
	return nil
}

// forgetGoldenEviction forgets that an earlier golden image of the instance was removed to
// make room.
func (s *Store) forgetGoldenEviction(callsign string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.goldenEvictions, callsign)
}

// hasAnyGolden reports whether any instance has a golden image, false if that is not known.
func (s *Store) hasAnyGolden() bool {
	stored, err := s.ListInEvictionOrder()
	return err == nil && len(stored) > 0 && stored[0].Golden
}
