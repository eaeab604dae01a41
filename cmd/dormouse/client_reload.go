package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
)

// reloadVerb returns the action that has the host read its configuration again.
func reloadVerb(flags *flag.FlagSet) action {
	c, format := addClientFlags(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, _ []string) error {
		result, err := c.call(ctx, "Controller.reload", nil)
		if err != nil {
			return fmt.Errorf("cannot reload: %w", err)
		}
		if format.isJSON() {
			return t.printJSON(result)
		}
		var changes []string
		if err := json.Unmarshal(result, &changes); err != nil {
			return fmt.Errorf("cannot understand what the host changed: %w", err)
		}
		for _, change := range changes {
			t.printf("%s\n", change)
		}
		if len(changes) == 0 {
			t.printf("nothing differs\n")
		}
		return nil
	}
}
