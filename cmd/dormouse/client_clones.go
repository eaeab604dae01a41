package main

import (
	"context"
	"flag"
	"fmt"
)

// cloneVerb returns the action that makes another instance of a plugin.
func cloneVerb(flags *flag.FlagSet) action {
	c := addHostFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		_, err := c.call(ctx, "Controller.clone", map[string]string{"callsign": args[0], "newcallsign": args[1]})
		if err != nil {
			return fmt.Errorf("cannot clone %s: %w", args[0], c.rewordWithAdvice(ctx, "clone", args[0], err))
		}
		t.printf("%s is there, start it with: dormouse plugin activate %s\n", args[1], args[1])
		return nil
	}
}

// destroyVerb returns the action that ends clones and removes all their stored data. It
// stops at the first error; an instance that is not a clone is one.
func destroyVerb(flags *flag.FlagSet) action {
	c, cold := addHostFlag(flags), new(bool)
	addColdFlag(flags, cold)
	return func(ctx context.Context, t *terminal, args []string) error {
		for _, name := range args {
			if _, err := c.call(ctx, "Controller.destroy", map[string]any{"callsign": name, "cold": *cold}); err != nil {
				return fmt.Errorf("cannot destroy %s: %w", name, c.rewordWithAdvice(ctx, "destroy", name, err))
			}
			if _, err := c.getInstance(ctx, name); err == nil {
				return fmt.Errorf("cannot destroy %s: it is not a clone; take it out of the configuration and run: dormouse reload", name)
			}
			t.printf("%s is gone\n", name)
		}
		return nil
	}
}
