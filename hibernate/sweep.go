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

// Sweep deletes the images older than age that are quarantined or belong to instances
// that are not known. It keeps younger ones, since an instance may be missing by
// mistake, except for golden images.
func (s *Store) Sweep(age time.Duration, isKnown func(callsign string) bool) (Swept, error) {
	stored, err := s.List()
	if err != nil {
		return Swept{}, fmt.Errorf("cannot sweep the image store: %w", err)
	}
	var swept Swept
	var errs []error
	for _, one := range stored {
		switch {
		case !one.Quarantined && isKnown(one.Callsign):
		case time.Since(one.Written) < age && !one.Golden:
			swept.Kept = append(swept.Kept, one)
		default:
			swept.Removed = append(swept.Removed, one)
			errs = append(errs, s.invalidateStored(one))
		}
	}
	return swept, errors.Join(errs...)
}

// invalidateStored deletes an image of an instance that does not run. A copy of it can't be
// woken either.
func (s *Store) invalidateStored(one StoredImage) error {
	dir := s.ImageDir(one.Callsign)
	if one.Golden {
		return dir.DiscardGolden()
	}
	if !one.Quarantined {
		if err := dir.Quarantine(); err != nil {
			return err
		}
	}
	err := s.deleteLater(dir.path(quarantineName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
