package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"dormouse/configs"
	"dormouse/shell"
)

// compareWarm starts a plugin whose Initialize fills mib MiB from its golden image,
// and cold when it makes that image, in turn with the same plugin that has none; each
// up to its first answer.
func (s *stage) compareWarm(ctx context.Context, mib, runs int) (warm, kept row, err error) {
	config := s.counterConfig()
	config.Configuration = map[string]any{"fill": mib}
	config.Wake = configs.WakeAuto
	config.Callsign = "Cold"
	plain := &sleeper{s.instanceOf(config), ""}
	config.Callsign, config.WarmStart = "Warm", true
	own := &sleeper{s.instanceOf(config), filepath.Join(s.dir, "images", "Warm")}
	var makings, warms, colds series
	for run := range runs + 1 {
		err = errors.Join(
			s.images.Slot("Warm").DropGolden(),
			timed(&makings, func() error { return own.wake(ctx) }),
			own.Deactivate(ctx, shell.Requested),
			timed(&warms, func() error { return own.wake(ctx) }),
			own.loaded(ctx),
		)
		if err == nil && own.Status().Warm == nil {
			_, err = own.Golden()
		}
		err = errors.Join(err,
			timed(&colds, func() error { return plain.wake(ctx) }),
			own.Deactivate(ctx, shell.Requested), plain.Deactivate(ctx, shell.Requested))
		if err != nil {
			break
		}
		s.images.Close() // no run pays for the removal of another's image
		if run == 0 {
			makings, warms, colds = nil, nil, nil // warm-up
		}
	}
	own.Close()
	plain.Close()
	aims := map[bool]float64{false: 5, true: 0.5} // who does nothing in Initialize has nothing to gain
	return row{fmt.Sprintf("warm start %d MiB: first answer", mib), warms, "the same, cold", colds, aims[mib > 0]},
		row{fmt.Sprintf("cold start %d MiB that makes its image", mib), makings, "the same, without", colds, 10}, err
}
