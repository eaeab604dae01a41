package hibernate

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Swept lists the images that a sweep found and that no instance will wake.
type Swept struct {
	Removed, Kept []StoredImage
}

// Sweep deletes the images that are quarantined or belong to instances that are not known.
// It keeps those that are younger than minAge, since an instance may be missing by mistake,
// unless they are golden.
func (s *Store) Sweep(minAge time.Duration, isKnown func(callsign string) bool) (Swept, error) {
	stored, err := s.ListInEvictionOrder()
	if err != nil {
		return Swept{}, fmt.Errorf("cannot sweep the image store: %w", err)
	}
	var swept Swept
	var errs []error
	for _, one := range stored {
		switch {
		case !one.Quarantined && isKnown(one.Callsign):
		case time.Since(one.Written) < minAge && !one.Golden:
			swept.Kept = append(swept.Kept, one)
		default:
			swept.Removed = append(swept.Removed, one)
			errs = append(errs, s.invalidateAndDelete(one))
		}
	}
	return swept, errors.Join(errs...)
}

// invalidateAndDelete deletes an image of an instance that does not run. Unless the image is
// golden, a copy of it can't be woken either.
func (s *Store) invalidateAndDelete(stored StoredImage) error {
	dir := s.ImageDir(stored.Callsign)
	if stored.Golden {
		return dir.DiscardGolden()
	}
	if !stored.Quarantined {
		if err := dir.Quarantine(); err != nil {
			return err
		}
	}
	err := s.deleteInBackground(dir.path(quarantineName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
