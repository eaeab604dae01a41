package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// series is one thing measured several times.
type series []time.Duration

func (s series) median() time.Duration {
	sorted := slices.Sorted(slices.Values(s))
	return sorted[len(sorted)/2]
}

func (s series) String() string {
	return fmt.Sprintf("%s [%s..%s]", round(s.median()), round(slices.Min(s)), round(slices.Max(s)))
}

// ratio is the median of the ratios pair by pair, so that a machine that is
// slow for a while is slow for both.
func ratio(a, b series) float64 {
	pairs := make([]float64, len(a))
	for i := range a {
		pairs[i] = float64(a[i]) / float64(b[i])
	}
	slices.Sort(pairs)
	return pairs[len(pairs)/2]
}

func round(d time.Duration) time.Duration {
	switch {
	case d > 100*time.Millisecond:
		return d.Round(time.Millisecond)
	case d > time.Millisecond:
		return d.Round(10 * time.Microsecond)
	}
	return d.Round(time.Microsecond)
}

// timed adds how long work took to s.
func timed(s *series, work func() error) error {
	start := time.Now()
	err := work()
	*s = append(*s, time.Since(start))
	return err
}

// rounds has work done once to warm up, and runs times for the series that it adds
// to.
func rounds(ctx context.Context, runs int, work func() error, counted ...*series) error {
	for run := range runs + 1 {
		if err := work(); err != nil {
			return err
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if run == 0 {
			for _, s := range counted {
				*s = nil
			}
		}
	}
	return nil
}

// poll calls done until it says so.
func poll(ctx context.Context, done func() (bool, error)) error {
	tick := time.NewTicker(200 * time.Microsecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok || err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
