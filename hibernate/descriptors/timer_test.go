package descriptors

import (
	"testing"
	"time"
)

// A timer goes on with the clock of its tree, which stands still from the moment of the image
// to the wake.
func TestTimeLeftAndTicks(t *testing.T) {
	for name, c := range map[string]struct {
		timer Timer
		now   time.Duration // by the clock of the tree
		left  time.Duration
		ticks uint64
	}{
		"a deadline":                        {Timer{Deadline: 90}, 60, 30, 0},
		"a deadline that passed meanwhile":  {Timer{Deadline: 90}, 95, 1, 0},
		"a deadline that was reached":       {Timer{Deadline: 90, Ticks: 1}, 95, 0, 1},
		"before the first tick":             {Timer{Deadline: 600, Interval: 10}, 50, 550, 0},
		"between ticks":                     {Timer{Deadline: 60, Interval: 10}, 52, 8, 0},
		"a tick not read":                   {Timer{Deadline: 60, Interval: 10, Ticks: 1}, 52, 8, 1},
		"a tick that the image is ahead of": {Timer{Deadline: 60, Interval: 10, Ticks: 1}, 48, 2, 0},
		"ticks not read":                    {Timer{Deadline: 60, Interval: 10, Ticks: 4}, 41, 9, 3},
		"a tick since":                      {Timer{Deadline: 60, Interval: 10}, 60, 10, 1},
		"ticks since":                       {Timer{Deadline: 60, Interval: 10, Ticks: 2}, 85, 5, 5},
	} {
		if left, ticks := c.timer.timeLeftAndTicks(c.now); left != c.left || ticks != c.ticks {
			t.Errorf("%s: %d left and %d ticks, want %d and %d", name, left, ticks, c.left, c.ticks)
		}
	}
}
