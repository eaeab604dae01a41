package main

import (
	"context"
	"flag"
	"fmt"
)

// configureVerb returns the action that shows or replaces a plugin's own configuration.
func configureVerb(flags *flag.FlagSet) action {
	c, format := addClientFlags(flags), addFormatFlag(flags)
	keep := flags.Bool("keep", false, "keep it across restarts of the host")
	forget := flags.Bool("forget", false, "go back to what the configuration file says")
	return func(ctx context.Context, t *terminal, args []string) error {
		name := args[0]
		callsign := map[string]string{"callsign": name}
		switch {
		case *forget && len(args) > 1:
			return &usageError{err: fmt.Errorf("--forget takes no new configuration")}
		case *forget:
			if _, err := c.call(ctx, "Controller.restore", callsign); err != nil {
				return fmt.Errorf("cannot configure %s: %w", name, c.addAdvice(ctx, "configure", name, err))
			}
		case len(args) > 1:
			raw, err := readJSONArgument(t.in, args[1])
			if err != nil {
				return err
			}
			if _, err := c.call(ctx, "Controller.configuration@"+name, raw); err != nil {
				return fmt.Errorf("cannot configure %s: %w", name, c.addAdvice(ctx, "configure", name, err))
			}
		}
		if *keep {
			if _, err := c.call(ctx, "Controller.persist", callsign); err != nil {
				return fmt.Errorf("cannot keep the configuration of %s: %w", name, err)
			}
		}
		now, err := c.call(ctx, "Controller.configuration@"+name, nil)
		if err != nil {
			return fmt.Errorf("cannot read the configuration of %s: %w", name, c.addAdvice(ctx, "configure", name, err))
		}
		if t.outIsTerminal || format.isJSON() {
			return t.printJSON(now)
		}
		t.printf("%s\n", now)
		return nil
	}
}
