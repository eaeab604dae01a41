package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	// patience is how long an operation may take before it is worth a line.
	patience = 150 * time.Millisecond
	// glance is the time between two looks at the progress.
	glance = 100 * time.Millisecond
)

// showProgress keeps one line about a transition of the instance up to date,
// until the returned function is called and the line is gone.
func (c *client) showProgress(ctx context.Context, t *terminal, name string) (hide func()) {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	all.Go(func() {
		begun := time.Now()
		defer t.complain(clearLine)
		timer := time.NewTimer(patience)
		defer timer.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-timer.C:
			}
			if found, err := c.records(ctx, name); err == nil && len(found) == 1 {
				t.complain(clearLine+"%s", progressLine(found[0], time.Since(begun)))
			}
			timer.Reset(glance)
		}
	})
	return func() {
		cancel()
		all.Wait()
	}
}

// clearLine makes a terminal forget the line that the cursor is on.
const clearLine = "\r\x1b[K"

func progressLine(r record, took time.Duration) string {
	line := fmt.Sprintf("%s %s", r.state(), r.Callsign)
	if r.Progress.Total > 0 {
		line += fmt.Sprintf("  %d / %d MiB", r.Progress.Done>>20, r.Progress.Total>>20)
	}
	return line + fmt.Sprintf("  %.1f s", took.Seconds())
}
