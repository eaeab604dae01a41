package hibernate

import (
	"runtime/debug"
	"time"

	"dormouse/internal/procfs"
)

// Moment is one moment by two clocks: the wall clock, which may be set, and the time since
// the boot, which two moments of the same boot can be compared by.
type Moment struct {
	Wall   time.Time     `json:"wall"`
	BootID string        `json:"boot-id"`
	Uptime time.Duration `json:"uptime"`
}

// CurrentMoment returns the present moment.
func CurrentMoment() Moment {
	return Moment{time.Now().Round(0).UTC(), procfs.BootID(), timeSinceBoot()}
}

// isPlausible reports whether the wall clock can be right: it is not before this program was
// built. A machine without a clock of its own boots with a wrong one.
func (m Moment) isPlausible() bool {
	info, _ := debug.ReadBuildInfo()
	if info == nil {
		return true
	}
	for _, setting := range info.Settings {
		if setting.Key == "vcs.time" {
			built, err := time.Parse(time.RFC3339, setting.Value)
			return err != nil || !m.Wall.Before(built)
		}
	}
	return true
}
