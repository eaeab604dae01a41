package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"dormouse/internal/bytesize"
	"dormouse/plugins/controller/dialect"
)

// explainVerb returns the action that prints why a plugin is awake or asleep.
func explainVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		if _, err := c.getInstance(ctx, args[0]); err != nil {
			return err
		}
		result, err := c.call(ctx, "Controller.explain@"+args[0], nil)
		if err != nil {
			return fmt.Errorf("cannot explain %s: %w", args[0], err)
		}
		return printJSONOrText(t, format, "explanation", result, explanationText)
	}
}

// explanationText returns the explanation for a person: the answer first, its parts below.
func explanationText(e dialect.Explanation) string {
	rows := table{}
	for i, keeps := range e.Keeps {
		name := ""
		if i == 0 {
			name = "keeps it awake"
		}
		rows.addRow("  "+name, joinLinesBySemicolon(keeps))
	}
	if e.Next != nil {
		next := fmt.Sprintf("%s at %s: %s", e.Next.Do, parseTimeOrZero(e.Next.At).Local().Format(time.TimeOnly), e.Next.Because)
		if e.Next.DryRun {
			next += ", but this is a dry run and it will only be told"
		}
		rows.addRow("  next", next)
	}
	if e.LastUse != "" {
		rows.addRow("  last used", formatTimeAndAge(e.LastUse))
	}
	if e.Saves > 0 {
		rows.addRow("  would save", bytesize.Format(e.Saves)+" of memory")
	}
	if e.Loading != nil {
		rows.addRow("  its memory", progressInMiB(*e.Loading)+" loaded since its wake, the rest follows")
	}
	if e.State == "activated" {
		rows.addRow("  a hibernation", hibernationOutlookText(e.Obstacle))
	}
	if e.Failure != "" {
		again := "not until it is started anew"
		if e.Retry != "" {
			again = parseTimeOrZero(e.Retry).Local().Format(time.TimeOnly)
		}
		rows.addTextRows("  last failure", e.Failure)
		rows.addRow("  next attempt", again)
	}
	switch {
	case e.Golden != nil:
		rows.addRow("  next start", fmt.Sprintf("warm, from the golden image made %s, %s", formatTimeAndAge(e.Golden.Created), bytesize.Format(e.Golden.Bytes)))
	case e.Cold != "":
		rows.addRow("  next start", "cold: "+joinLinesBySemicolon(e.Cold))
	}
	why := errorCell(e.Why)
	if e.Why == "" {
		why = "it is " + string(e.State) + "; the host tells the reasons only to users with the role operate"
	}
	return fmt.Sprintf("%s: %s.\n%s", e.Callsign, why, rows.alignedText(0))
}

// hibernationOutlookText returns the rest of a sentence that begins with "a hibernation":
// that it would fail because of the obstacle, or that nothing is known to stop it if
// obstacle is "".
func hibernationOutlookText(obstacle string) string {
	if obstacle == "" {
		return "is stopped by nothing that is known"
	}
	return "would fail: " + joinLinesBySemicolon(obstacle)
}
