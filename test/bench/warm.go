package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"dormouse/configs"
	"dormouse/shell"
)

// measureWarm starts plugins from golden images.
func measureWarm(ctx context.Context, b *bench) (rows []row, err error) {
	s, err := b.open(ctx)
	for _, mib := range []int{0, 100, 500} {
		if err == nil {
			var more []row
			more, err = s.compareWarm(ctx, mib, b.runs)
			rows = append(rows, more...)
		}
	}
	return rows, err
}

// compareWarm starts a plugin whose Initialize fills mib MiB from its golden image,
// and cold when it makes that image, in turn with the same plugin that has none; each
// up to its first answer.
func (s *stage) compareWarm(ctx context.Context, mib, runs int) ([]row, error) {
	config := s.counterConfig()
	config.Configuration = map[string]any{"fill": mib}
	config.Wake = configs.WakeAuto
	config.Callsign = "Cold"
	plain := &sleeper{s.instanceOf(config), ""}
	defer plain.Close()
	config.Callsign, config.WarmStart = "Warm", true
	own := &sleeper{s.instanceOf(config), filepath.Join(s.dir, "images", "Warm")}
	defer own.Close()
	var makings, warms, colds series
	err := rounds(ctx, runs, func() error {
		defer s.host.Processes.Images.Close() // no run pays for the removal of another's image
		err := errors.Join(
			s.host.Processes.Images.ImageDir("Warm").DiscardGolden(),
			timed(&makings, func() error { return own.answer(ctx) }),
			own.Deactivate(ctx, shell.Requested),
			timed(&warms, func() error { return own.answer(ctx) }),
			own.loaded(ctx),
		)
		if err == nil && own.Status().StartedFrom == nil {
			_, err = own.GoldenImage() // which says why
		}
		return errors.Join(err,
			timed(&colds, func() error { return plain.answer(ctx) }),
			own.Deactivate(ctx, shell.Requested), plain.Deactivate(ctx, shell.Requested))
	}, &makings, &warms, &colds)
	aim := 0.5
	if mib == 0 {
		aim = 5 // a plugin that does nothing in Initialize gains nothing
	}
	return []row{
		{what: fmt.Sprintf("warm start %d MiB: first answer", mib), own: warms, yardstick: "the same, cold", plain: colds, aim: aim},
		{what: fmt.Sprintf("cold start %d MiB that makes its image", mib), own: makings, yardstick: "the same, without", plain: colds, aim: 10},
	}, err
}
