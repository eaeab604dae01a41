package tasks

import (
	"fmt"
	"sync"
	"time"

	"dormouse/internal/store"
)

// maxAway is how much time at most the host believes to have been away. A clock that is a year
// off then costs a day.
const maxAway = 24 * time.Hour

// clock counts the milliseconds that have passed: while the host runs by the monotonic clock, and
// between two hosts by the machine's, within bounds. It never goes back.
type clock struct {
	bucket store.Bucket[reading]

	mu     sync.Mutex
	passed int64     // at begun
	begun  time.Time // with its monotonic reading
}

// reading is what the clock showed, and the machine's clock then, in milliseconds.
type reading struct {
	Passed int64 `json:"passed"`
	Wall   int64 `json:"wall"`
}

// newClock returns the clock that goes on from what the store has.
func newClock(s *store.Store) (*clock, error) {
	c := &clock{bucket: store.BucketOf[reading](s, "task clock"), begun: time.Now()}
	last, found, err := c.bucket.Get("now")
	if err != nil {
		return nil, fmt.Errorf("cannot read the clock of tasks: %w", err)
	}
	c.passed = 1 // 0 stands for a task that has not ended
	if found {
		away := min(max(c.begun.UnixMilli()-last.Wall, 0), maxAway.Milliseconds())
		c.passed = last.Passed + away
	}
	return c, nil
}

// now returns how many milliseconds have passed.
func (c *clock) now() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.passed + time.Since(c.begun).Milliseconds()
}

// keep has the next host go on from now.
func (c *clock) keep() error {
	return c.bucket.Put("now", reading{Passed: c.now(), Wall: time.Now().UnixMilli()})
}
