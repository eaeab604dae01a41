package main

import (
	"context"
	"errors"
	"time"

	"dormouse/shell"
)

// measureSwitch measures the gap that a caller sees while a plugin is replaced by another one.
func measureSwitch(ctx context.Context, b *bench) ([]row, error) {
	s, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	r, err := s.compareSwitch(ctx, 3*b.runs)
	return []row{r}, err
}

// compareSwitch has a caller call a plugin all the time while it is replaced, in turn with the
// same plugin ended and started.
func (s *stage) compareSwitch(ctx context.Context, runs int) (row, error) {
	own, err := s.usual(ctx, "Switched", 0)
	if err != nil {
		return row{}, err
	}
	defer func() { _ = own.end(ctx) }()
	next := own.Config()
	next.Arguments = []string{"next"}
	var gaps, restarts series
	err = rounds(ctx, runs, func() error {
		gap, err := own.longestCallDuring(ctx, func() error { return own.Replace(ctx, shell.Requested, next, nil) })
		gaps = append(gaps, gap)
		return errors.Join(err, timed(&restarts, func() error {
			return errors.Join(own.Deactivate(ctx, shell.Requested), own.Activate(ctx, shell.Requested))
		}))
	}, &gaps, &restarts)
	return row{what: "replace: gap of a caller", own: gaps, yardstick: "deactivate and activate", plain: restarts, aim: 1.3}, err
}

// longestCallDuring does the work beside a caller that calls the plugin all the time, and
// returns how long the longest call took. No call may fail.
func (o *sleeper) longestCallDuring(ctx context.Context, work func() error) (longest time.Duration, err error) {
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			begun := time.Now()
			_, err := o.Invoke(ctx, shell.Call{Method: "get"})
			longest = max(longest, time.Since(begun))
			if err != nil {
				ended <- err
				return
			}
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
		}
	}()
	err = work()
	close(stop)
	return longest, errors.Join(err, <-ended)
}
