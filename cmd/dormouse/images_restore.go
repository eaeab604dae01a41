package main

import (
	"context"
	"flag"
	"fmt"
)

// imagesRestoreVerb returns the action that has the host put an image back that was put aside.
func imagesRestoreVerb(flags *flag.FlagSet) action {
	c := addHostFlag(flags)
	generation := flags.Uint64("generation", 0, "the `NUMBER` of the image, its generation in the list as JSON; the newest if not given")
	return func(ctx context.Context, t *terminal, args []string) error {
		params := map[string]any{"callsign": args[0]}
		if *generation > 0 {
			params["generation"] = *generation
		}
		if _, err := c.call(ctx, "Controller.restoreimage", params); err != nil {
			return fmt.Errorf("cannot restore the image of %s: %w", args[0], c.rewordWithAdvice(ctx, putBackVerb, args[0], err))
		}
		t.printf("%s sleeps again, wake it with: dormouse plugin wake %s\n", args[0], args[0])
		return nil
	}
}
