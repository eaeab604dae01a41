package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"dormouse/configs"
	"dormouse/shell"
)

// smallAwake is how soon a plugin that holds next to nothing answers after it was
// paged out.
const smallAwake = 5 * time.Millisecond

// measurePageOut puts to sleep in place. Without swap there are no rows.
func measurePageOut(ctx context.Context, b *bench) (rows []row, err error) {
	s, err := b.open(ctx)
	if err != nil {
		return nil, err
	}
	off, err := switchSwapOn()
	if err != nil {
		fmt.Printf("The page-out tier was not measured: %v.\n", err)
		return nil, nil
	}
	defer func() { err = errors.Join(err, off()) }()
	for _, mib := range []int{0, 100} {
		more, err := s.comparePageOut(ctx, mib, b.runs)
		if err != nil {
			return nil, err
		}
		rows = append(rows, more...)
	}
	return rows, nil
}

// comparePageOut puts a plugin of mib MiB to sleep in place and has it answer
// again, in turn with the same by an image.
func (s *stage) comparePageOut(ctx context.Context, mib, runs int) (_ []row, err error) {
	config := s.counterConfig()
	config.Sleep = configs.SleepPageOut
	place, err := s.sleeper(ctx, "InPlace", mib, config)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, place.end(ctx)) }()
	image, err := s.eager(ctx, "OnDisk", mib)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, image.end(ctx)) }()
	var freezes, dumps, thaws, restores series
	err = rounds(ctx, runs, func() error {
		defer s.host.Processes.Images.Close()
		return errors.Join(
			timed(&freezes, func() error { return place.sleep(ctx) }),
			timed(&dumps, func() error { return image.sleep(ctx) }),
			timed(&thaws, func() error { return place.answer(ctx) }),
			timed(&restores, func() error { return image.answer(ctx) }),
			place.touch(ctx), // or the next sleep would find it in the swap already
		)
	}, &freezes, &dumps, &thaws, &restores)
	answer := row{what: fmt.Sprintf("answer after it, %d MiB", mib), own: thaws, yardstick: "answer from an image", plain: restores, aim: 0.25}
	if mib == 0 {
		answer.within = smallAwake
	}
	return []row{
		{what: fmt.Sprintf("page out %d MiB", mib), own: freezes, yardstick: "hibernate to disk", plain: dumps, aim: 1},
		answer,
	}, err
}

// touch has the plugin read all its memory.
func (o *sleeper) touch(ctx context.Context) error {
	_, err := o.Invoke(ctx, shell.Call{Method: "digest"})
	return err
}
