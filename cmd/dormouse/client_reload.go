package main

import (
	"context"
	"errors"
	"flag"
	"strings"
)

// reloadVerb returns the action that has the host read its configuration again.
func reloadVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, _ []string) error {
		result, err := c.call(ctx, "Controller.reload", nil)
		if err != nil {
			return errors.New("cannot reload: " + strings.TrimPrefix(err.Error(), "cannot reload: ")) // the host says so too
		}
		return printJSONOrText(t, format, "changes", result, func(changes []string) string {
			if len(changes) == 0 {
				return "nothing differs\n"
			}
			return strings.Join(changes, "\n") + "\n"
		})
	}
}
