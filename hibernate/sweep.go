package hibernate

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"dormouse/internal/atomicfile"
	"dormouse/internal/regularfile"
)

// Sweeping says which images a sweep deletes.
type Sweeping struct {
	// KeepFor is how long an image is kept after the first sweep that found it unusable:
	// the operator may want to find out why, or may have left the instance out of the
	// configuration by mistake.
	KeepFor time.Duration
	// IsKnown reports whether there is an instance of that callsign.
	IsKnown func(callsign string) bool
	// IsMissing reports whether there may be such an instance although it is not known.
	// What is kept for that one stays as it is.
	IsMissing func(callsign string) bool
	Now       Moment
}

// Swept lists the images that a sweep found and that no instance will wake.
type Swept struct {
	Removed []StoredImage
	Kept    []KeptImage
}

// KeptImage is an image that a sweep has kept, and until when.
type KeptImage struct {
	StoredImage
	Until time.Time
}

// Sweep deletes images that no instance can wake: those that are quarantined or put aside, or
// of instances that are not known. A note beside each image, which a sweep makes, says since when that is
// so; the note of an image that can be woken is removed.
func (s *Store) Sweep(rules Sweeping) (Swept, error) {
	stored, err := s.ListInEvictionOrder()
	if err != nil {
		return Swept{}, fmt.Errorf("cannot sweep the image store: %w", err)
	}
	var swept Swept
	var errs []error
	for _, one := range stored {
		switch known := rules.IsKnown(one.Callsign); {
		case known && !one.IsOutOfUse():
			errs = append(errs, s.removeUnusableNote(one))
		case !known && rules.IsMissing(one.Callsign):
		default:
			errs = append(errs, s.sweepUnusable(one, rules, &swept))
		}
	}
	return swept, errors.Join(errs...)
}

// sweepUnusable deletes an image that no instance can wake, if it has been so for long
// enough, and adds it to swept.
func (s *Store) sweepUnusable(one StoredImage, rules Sweeping, swept *Swept) error {
	age, err := s.readOrMakeUnusableNote(one, rules.Now)
	if err != nil {
		return err
	}
	if age < rules.KeepFor {
		swept.Kept = append(swept.Kept, KeptImage{one, rules.Now.Wall.Add(rules.KeepFor - age)})
		return nil
	}
	swept.Removed = append(swept.Removed, one)
	return errors.Join(s.invalidateAndDelete(one), s.removeUnusableNote(one))
}

// unusableNote says when a sweep found first that no instance can wake an image.
type unusableNote struct {
	Since    Moment    `json:"since"`
	ClockSet bool      `json:"clock-set"` // the wall clock of Since can be right
	Written  time.Time `json:"written"`   // of the image, which tells it from a later one
	// Told is set once the host has recorded the loss of an image that is out of use.
	Told bool `json:"told,omitempty"`
}

// ageAt returns how long before now the note about the image was made. It returns false if
// that is not known, since the note is about an earlier image or the wall clock was wrong.
// Within one boot the age does not depend on the wall clock.
func (n unusableNote) ageAt(now Moment, image StoredImage) (age time.Duration, known bool) {
	switch {
	case !n.Written.Equal(image.Written):
		return 0, false
	case n.Since.BootID == now.BootID:
		return now.Uptime - n.Since.Uptime, true
	case !n.ClockSet, n.Since.Wall.Before(image.Written):
		return 0, false
	}
	age = now.Wall.Sub(n.Since.Wall)
	return age, age >= 0
}

// readOrMakeUnusableNote returns how long ago the note about an image was made. If there is no
// note, or its age is not known, it writes a new one, whose age is 0.
func (s *Store) readOrMakeUnusableNote(one StoredImage, now Moment) (age time.Duration, err error) {
	note := s.unusableNoteOf(one)
	if age, known := note.ageAt(now, one); known {
		return age, nil
	}
	err = s.writeUnusableNote(one, unusableNote{now, now.isPlausible(), one.Written, note.Told})
	if err != nil {
		return 0, fmt.Errorf("cannot note since when the image %s is of no use: %w", one, err)
	}
	return 0, nil
}

// unusableNoteOf returns the note about the image; if there is none, or it is about an earlier
// image, a note that says nothing.
func (s *Store) unusableNoteOf(one StoredImage) (note unusableNote) {
	text, err := regularfile.Read(s.unusableNotePath(one), 1<<20)
	if err == nil && json.Unmarshal(text, &note) == nil && note.Written.Equal(one.Written) {
		return note
	}
	return unusableNote{Written: one.Written}
}

// writeUnusableNote writes the note about an image, durably.
func (s *Store) writeUnusableNote(one StoredImage, note unusableNote) error {
	text, err := json.Marshal(note)
	if err != nil {
		return err
	}
	return atomicfile.Write(s.unusableNotePath(one), text, 0o600)
}

// removeUnusableNote removes the note about an image, if there is one.
func (s *Store) removeUnusableNote(one StoredImage) error {
	if err := os.Remove(s.unusableNotePath(one)); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// unusableNotePath returns the path of the note about an image.
func (s *Store) unusableNotePath(one StoredImage) string {
	return s.ImageDir(one.Callsign).path(one.dirName() + unusableSuffix)
}

// invalidateAndDelete deletes an image of an instance that does not run. Unless the image is
// golden, a copy of it can't be woken either.
func (s *Store) invalidateAndDelete(stored StoredImage) error {
	dir := s.ImageDir(stored.Callsign)
	if stored.Golden {
		return dir.DiscardGolden()
	}
	switch {
	case stored.Aside > 0:
		if err := dir.giveUp(stored.Aside); err != nil {
			return err
		}
	case !stored.Quarantined:
		if err := dir.giveUpUnread(); err != nil {
			return err
		}
	}
	err := s.deleteInBackground(dir.path(stored.dirName()))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}
