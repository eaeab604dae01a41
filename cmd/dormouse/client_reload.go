package main

import (
	"context"
	"flag"
	"fmt"
	"strings"
)

// reloadVerb returns the action that has the host read its configuration again.
func reloadVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, _ []string) error {
		result, err := c.call(ctx, "Controller.reload", nil)
		if err != nil {
			return fmt.Errorf("cannot reload: %w", err)
		}
		return printJSONOrText(t, format, "changes", result, func(changes []string) string {
			if len(changes) == 0 {
				return "nothing differs\n"
			}
			return strings.Join(changes, "\n") + "\n"
		})
	}
}
