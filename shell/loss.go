package shell

import (
	"time"

	"dormouse/hibernate"
)

// Loss says that the state of a hibernated plugin was given up: no wake uses it any more.
type Loss struct {
	Callsign string
	At       time.Time
	// Cause says why the state was given up.
	Cause error
	// Class is the class of the failed wake, empty for an image that was evicted.
	Class hibernate.FailureClass
	// Generation is the number of the image, 0 for a sleep in place or if it is not known.
	Generation uint64
	// Kept says where the image lies now.
	Kept KeptImage
}

// KeptImage says where an image lies that no wake uses any more. The zero value means that
// the image is gone.
type KeptImage struct {
	// Path is the directory of the image.
	Path string
	// Until is when the image is deleted.
	Until time.Time
	// Restorable reports whether the operator can have the image put back.
	Restorable bool
}

// reportLoss completes the loss of what slept as asleep says, which may be nil, and reports
// it to Options.Lost.
func (s *Shell) reportLoss(asleep *Sleep, l Loss) {
	l.Callsign, l.At = s.callsign, time.Now()
	if asleep != nil {
		l.Generation = asleep.Generation
	}
	s.log.Error().Err(l.Cause).Str("class", string(l.Class)).Uint64("generation", l.Generation).Str("kept", l.Kept.Path).Msg("lost the state of the hibernated plugin")
	if s.onLost != nil {
		s.onLost(l)
	}
}
