package hibernate

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// Swept is what a sweep found that nobody will wake.
type Swept struct {
	Removed, Kept []Stored
}

// Sweep removes what is older than age of the images that were refused, and of
// those of instances that are not known any more. Younger ones are kept: an
// instance may be missing by mistake. Its golden image goes at once.
func (s *Store) Sweep(age time.Duration, known func(callsign string) bool) (Swept, error) {
	stored, err := s.Stored()
	if err != nil {
		return Swept{}, fmt.Errorf("cannot sweep the image store: %w", err)
	}
	var swept Swept
	var errs []error
	for _, one := range stored {
		switch {
		case !one.Refused && known(one.Callsign):
		case time.Since(one.Written) < age && !one.Golden:
			swept.Kept = append(swept.Kept, one)
		default:
			swept.Removed = append(swept.Removed, one)
			errs = append(errs, s.discard(one))
		}
	}
	return swept, errors.Join(errs...)
}

// discard removes an image whose instance does not run; a copy of it can't be
// woken either.
func (s *Store) discard(one Stored) error {
	slot := s.Slot(one.Callsign)
	if one.Golden {
		return slot.DropGolden()
	}
	if !one.Refused {
		if err := slot.Refuse(); err != nil {
			return err
		}
	}
	err := s.trash(slot.path(refusedName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
