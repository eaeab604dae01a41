package supervisor

import (
	"fmt"

	"dormouse/configs"
)

// LeftOut returns the files that were left out of the configuration, nil since the first
// reload that succeeded.
func (s *Supervisor) LeftOut() configs.LeftOutFiles {
	if files := s.leftOut.Load(); files != nil {
		return *files
	}
	return nil
}

// IsMissing reports whether there is no instance of that callsign although a file that was
// left out names it, or may do so. What is kept for such an instance must stay.
func (s *Supervisor) IsMissing(callsign string) bool { return s.WhyMissing(callsign) != nil }

// WhyMissing returns an error that names the left out file because of which there is no
// instance of that callsign, nil if that is not the cause. A virtual plugin is missing with its
// parent.
func (s *Supervisor) WhyMissing(callsign string) error {
	if _, exists := s.Shell(callsign); exists {
		return nil
	}
	if v, isVirtual := s.virtuals.find(callsign); isVirtual {
		return s.WhyMissing(v.Parent)
	}
	file, found := s.LeftOut().Find(callsign)
	if !found {
		return nil
	}
	defines := "defines"
	if !file.Names(callsign) {
		defines = "may define"
	}
	return fmt.Errorf("the file that %s it could not be used when the host started: see %s, mend it and reload", defines, file.Places())
}

// UnknownError returns the error that there is no instance of that callsign. It wraps
// ErrUnknown, and names the left out file if one is the cause.
func (s *Supervisor) UnknownError(callsign string) error {
	if why := s.WhyMissing(callsign); why != nil {
		return fmt.Errorf("%w: %q: %w", ErrUnknown, callsign, why)
	}
	return fmt.Errorf("%w: %q", ErrUnknown, callsign)
}
