package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"dormouse/configs"
	"dormouse/shell"
)

// comparePageOut puts a plugin of mib MiB to sleep in place and has it answer
// again, in turn with the same by an image. Without swap there is no row.
func (s *stage) comparePageOut(ctx context.Context, mib, runs int) ([]row, error) {
	if swaps, err := os.ReadFile("/proc/swaps"); err != nil || strings.Count(string(swaps), "\n") < 2 {
		fmt.Fprintln(os.Stderr, "bench: the page-out tier is not measured: there is no swap")
		return nil, nil
	}
	place, err := s.filled(ctx, "InPlace", configs.SleepPageOut, mib)
	if err != nil {
		return nil, err
	}
	defer place.Close()
	image, err := s.filled(ctx, "OnDisk", configs.SleepCheckpoint, mib)
	if err != nil {
		return nil, errors.Join(err, place.Deactivate(ctx, shell.Requested))
	}
	defer image.Close()
	var freezes, dumps, thaws, restores series
	for run := range runs + 1 {
		err = errors.Join(
			timed(&freezes, func() error { return place.Hibernate(ctx, shell.Requested, 0) }),
			timed(&dumps, func() error { return image.Hibernate(ctx, shell.Requested, 0) }),
			timed(&thaws, func() error { return firstAnswer(ctx, place) }),
			timed(&restores, func() error { return firstAnswer(ctx, image) }),
			touch(ctx, place), // or the next sleep would find it in the swap already
		)
		if err != nil {
			break
		}
		s.images.Close() // no run pays for the removal of another's image
		if run == 0 {
			freezes, dumps, thaws, restores = nil, nil, nil, nil // warm-up
		}
	}
	err = errors.Join(err, place.Deactivate(ctx, shell.Requested), image.Deactivate(ctx, shell.Requested))
	size := fmt.Sprintf("%d MiB", mib)
	return []row{
		{"page out " + size, freezes, "hibernate to disk", dumps, 1},
		{"answer after it " + size, thaws, "answer from an image", restores, 0.25},
	}, err
}

// filled returns an active counter that sleeps in that way, with mib MiB.
func (s *stage) filled(ctx context.Context, callsign string, sleep configs.Sleep, mib int) (*shell.Shell, error) {
	own := s.sleeper(callsign, sleep)
	err := own.Activate(ctx, shell.Requested)
	if err == nil && mib > 0 {
		params, _ := json.Marshal(map[string]any{"mib": mib, "pattern": "random"})
		_, err = own.Invoke(ctx, shell.Call{Method: "fill", Params: params})
	}
	return own, err
}

// touch has the plugin read all its memory.
func touch(ctx context.Context, s *shell.Shell) error {
	_, err := s.Invoke(ctx, shell.Call{Method: "digest"})
	return err
}

// firstAnswer wakes the instance and has a call answered.
func firstAnswer(ctx context.Context, s *shell.Shell) error {
	if err := s.Activate(ctx, shell.Requested); err != nil {
		return err
	}
	_, err := s.Invoke(ctx, shell.Call{Method: "get"})
	return err
}
