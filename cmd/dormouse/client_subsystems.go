package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
)

// subsystemsVerb returns the action that lists the subsystems of the host.
func subsystemsVerb(flags *flag.FlagSet) action {
	c, format := addClientFlags(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, _ []string) error {
		result, err := c.call(ctx, "Controller.subsystems", nil)
		if err != nil {
			return err
		}
		if format.isJSON() {
			return t.printJSON(result)
		}
		var all []struct {
			Subsystem string `json:"subsystem"`
			Active    bool   `json:"active"`
		}
		if err := json.Unmarshal(result, &all); err != nil {
			return fmt.Errorf("cannot understand the host's subsystems: %w", err)
		}
		rows := table{}
		rows.addRow("SUBSYSTEM", "STATE")
		for _, s := range all {
			state := "down"
			if s.Active {
				state = "up"
			}
			rows.addRow(s.Subsystem, state)
		}
		t.printf("%s", rows.text(t.width))
		return nil
	}
}
