package main

import (
	"context"
	"errors"
	"fmt"
)

// measureSleep hibernates and wakes, in turn with CRIU's own commands.
func measureSleep(ctx context.Context, b *bench) (rows []row, err error) {
	s, err := b.open(ctx)
	for _, mib := range []int{10, 100, 500} {
		if err == nil {
			var more []row
			more, err = s.compareSleep(ctx, mib, b.runs)
			rows = append(rows, more...)
		}
	}
	return rows, err
}

// compareSleep hibernates and wakes a plugin of mib MiB, all of its memory before
// it runs, in turn with CRIU's own commands on an equal process.
func (s *stage) compareSleep(ctx context.Context, mib, runs int) (_ []row, err error) {
	own, err := s.eager(ctx, "Eager", mib)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, own.end(ctx)) }()
	other, err := s.plain(ctx, mib)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, other.end()) }()
	var hibernates, dumps, wakes, restores series
	err = rounds(ctx, runs, func() error {
		defer s.host.Processes.Images.Close() // no run pays for the removal of another's image
		return errors.Join(
			timed(&hibernates, func() error { return own.sleep(ctx) }),
			timed(&dumps, other.dump),
			timed(&wakes, func() error { return own.wake(ctx) }),
			timed(&restores, other.restore),
			other.clean(),
		)
	}, &hibernates, &dumps, &wakes, &restores)
	size := fmt.Sprintf("%d MiB", mib)
	return []row{
		{what: "hibernate " + size, own: hibernates, yardstick: "criu dump + fsync", plain: dumps, aim: 1.3},
		{what: "wake " + size, own: wakes, yardstick: "criu restore", plain: restores, aim: 1.3},
	}, err
}
