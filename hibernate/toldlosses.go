package hibernate

import (
	"errors"
	"fmt"
	"time"
)

// UntoldImage is an image that was taken out of use by a host that was killed before it could
// record the loss.
type UntoldImage struct {
	StoredImage
	// Path is the directory of the image, and Until when it is deleted.
	Path  string
	Until time.Time
}

// UntoldImages returns the images that are out of use and for which MarkTold was not called
// since.
func (s *Store) UntoldImages() (untold []UntoldImage, err error) {
	stored, err := s.ListInEvictionOrder()
	if err != nil {
		return nil, fmt.Errorf("cannot look for losses that were not recorded: %w", err)
	}
	now := CurrentMoment()
	for _, one := range stored {
		if !one.IsOutOfUse() || s.unusableNoteOf(one).Told {
			continue
		}
		age, err := s.readOrMakeUnusableNote(one, now)
		if err != nil {
			return nil, err
		}
		untold = append(untold, UntoldImage{one, s.ImageDir(one.Callsign).path(one.dirName()), now.Wall.Add(KeepFor - age)})
	}
	return untold, nil
}

// MarkTold notes that the losses of all images of the instance that are out of use now were
// recorded.
func (s *Store) MarkTold(callsign string) error {
	stored, err := s.ListInEvictionOrder()
	errs := []error{err}
	for _, one := range stored {
		if one.Callsign != callsign || !one.IsOutOfUse() {
			continue
		}
		if note := s.unusableNoteOf(one); !note.Told {
			note.Told = true
			errs = append(errs, s.writeUnusableNote(one, note))
		}
	}
	return errors.Join(errs...)
}
