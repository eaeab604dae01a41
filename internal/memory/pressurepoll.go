package memory

import (
	"context"
	"time"
)

const (
	// calmInterval is how often a poll looks while threads don't wait, and tenseInterval
	// how often while some do.
	calmInterval, tenseInterval = 250 * time.Millisecond, 50 * time.Millisecond
)

// stallSample is what StalledTime was at a moment.
type stallSample struct {
	at      time.Time
	stalled time.Duration
}

// pollPressure is WatchPressure for a process to which the kernel would report pressure up to
// two seconds late: it reads StalledTime again and again.
func pollPressure(ctx context.Context, stall, window time.Duration, readStalled func() (time.Duration, error), onPressure func()) error {
	var samples []stallSample // of the last window, oldest first
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		stalled, err := readStalled()
		if err != nil {
			return err
		}
		now := time.Now()
		for len(samples) > 1 && !samples[1].at.After(now.Add(-window)) {
			samples = samples[1:]
		}
		samples = append(samples, stallSample{now, stalled})
		if stalled-samples[0].stalled >= stall {
			samples = samples[len(samples)-1:] // the same waiting is reported once
			onPressure()
		}
		interval := tenseInterval
		if stalled == samples[0].stalled {
			interval = calmInterval
		}
		timer.Reset(interval)
	}
}
