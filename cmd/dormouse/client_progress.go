package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// progressDelay is how long an operation may take before its progress is shown.
	progressDelay = 150 * time.Millisecond
	// progressInterval is the time between two updates of the progress that is shown.
	progressInterval = 100 * time.Millisecond
)

// showProgressInBackground shows one line about a transition of the instance on standard
// error, once progressDelay has passed, and keeps it up to date. The returned function
// removes the line.
func (c *client) showProgressInBackground(ctx context.Context, t *terminal, callsign string) (hide func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() {
		begun := time.Now()
		defer t.printErrf(clearLine)
		timer := time.NewTimer(progressDelay)
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			if found, err := c.listInstances(ctx, callsign); err == nil && len(found) == 1 {
				t.printErrf(clearLine+"%s", progressLine(found[0], time.Since(begun)))
			}
			timer.Reset(progressInterval)
		}
	})
	return func() {
		cancel()
		all.Wait()
	}
}

// clearLine is the text that clears the terminal line which the cursor is on.
const clearLine = "\r\x1b[K"

// progressLine returns the state of the instance, how much memory the transition has moved,
// and the time since its beginning.
func progressLine(r instanceRecord, elapsed time.Duration) string {
	line := fmt.Sprintf("%s %s", r.transitionOrState(), r.Callsign)
	if r.Progress != nil {
		line += fmt.Sprintf("  %d / %d MiB", r.Progress.Done>>20, r.Progress.Total>>20)
	}
	return line + fmt.Sprintf("  %.1f s", elapsed.Seconds())
}
