package main

import (
	"context"
	"flag"
)

// subsystemsVerb returns the action that lists the subsystems of the host.
func subsystemsVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, _ []string) error {
		result, err := c.call(ctx, "Controller.subsystems", nil)
		if err != nil {
			return err
		}
		return printJSONOrText(t, format, "subsystems", result, func(all []subsystemRecord) string {
			rows := table{}
			rows.addRow("SUBSYSTEM", "STATE")
			for _, s := range all {
				state := "down"
				if s.Active {
					state = "up"
				}
				rows.addRow(s.Subsystem, state)
			}
			return rows.alignedText(t.width)
		})
	}
}

// subsystemRecord is a subsystem as Controller.subsystems returns it.
type subsystemRecord struct {
	Subsystem string `json:"subsystem"`
	Active    bool   `json:"active"`
}
