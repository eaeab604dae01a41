package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
)

// configureVerb returns the action that replaces a plugin's own configuration, keeps the
// new one across restarts of the host (--keep), or goes back to that of the file
// (--forget). In each case, and without a new configuration, the action prints the present
// one.
func configureVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	keep := flags.Bool("keep", false, "keep it across restarts of the host")
	forget := flags.Bool("forget", false, "go back to what the configuration file says, or the source of a clone has")
	return func(ctx context.Context, t *terminal, args []string) error {
		name := args[0]
		call := func(goal, method string, params any) (json.RawMessage, error) {
			result, err := c.call(ctx, "Controller."+method, params)
			if err != nil {
				err = fmt.Errorf("cannot %s %s: %w", goal, name, c.rewordWithAdvice(ctx, "configure", name, err))
			}
			return result, err
		}
		callsign := map[string]string{"callsign": name}
		switch {
		case *forget && len(args) > 1:
			return &usageError{err: fmt.Errorf("--forget takes no new configuration")}
		case *forget:
			if _, err := call("configure", "restore", callsign); err != nil {
				return err
			}
		case len(args) > 1:
			raw, err := readJSONArgument(t.in, args[1])
			if err != nil {
				return err
			}
			if _, err := call("configure", "configuration@"+name, raw); err != nil {
				return err
			}
		}
		if *keep {
			if _, err := call("keep the configuration of", "persist", callsign); err != nil {
				return err
			}
		}
		now, err := call("read the configuration of", "configuration@"+name, nil)
		if err != nil {
			return err
		}
		return t.printResultJSON(now, format)
	}
}
