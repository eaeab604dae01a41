package main

import (
	"context"
	"flag"
	"fmt"
	"time"

	"dormouse/internal/bytesize"
	"dormouse/plugins/controller/dialect"
	"dormouse/shell"
)

// explanation is the result of Controller.explain.
type explanation struct {
	Callsign string         `json:"callsign"`
	State    string         `json:"state"`
	Why      string         `json:"why"`
	Keeps    []string       `json:"keepsawake"`
	LastUse  string         `json:"lastuse"`
	Saves    int64          `json:"saves"`
	Loading  shell.Progress `json:"loading"`
	Obstacle string         `json:"obstacle"`
	Failure  string         `json:"failure"`
	Retry    time.Time      `json:"retry"`
	Next     *struct {
		Do      string    `json:"do"`
		At      time.Time `json:"at"`
		Because string    `json:"because"`
		DryRun  bool      `json:"dryrun"`
	} `json:"next"`
	Golden *dialect.Image `json:"golden"`
	Cold   string         `json:"cold"`
}

// explainVerb returns the action that prints why a plugin is awake or asleep.
func explainVerb(flags *flag.FlagSet) action {
	c, format := addClientFlags(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		if _, err := c.getInstance(ctx, args[0]); err != nil {
			return err
		}
		result, err := c.call(ctx, "Controller.explain@"+args[0], nil)
		if err != nil {
			return fmt.Errorf("cannot explain %s: %w", args[0], err)
		}
		return printAnswer(t, format, "explanation", result, explanation.text)
	}
}

// text returns the explanation for a person: the answer first, its parts below.
func (e explanation) text() string {
	rows := table{}
	for i, keeps := range e.Keeps {
		name := ""
		if i == 0 {
			name = "keeps it awake"
		}
		rows.addRow("  "+name, joinLines(keeps))
	}
	if e.Next != nil {
		next := fmt.Sprintf("%s at %s: %s", e.Next.Do, e.Next.At.Local().Format(time.TimeOnly), e.Next.Because)
		if e.Next.DryRun {
			next += ", but this is a dry run and it will only be told"
		}
		rows.addRow("  next", next)
	}
	if e.LastUse != "" {
		rows.addRow("  last used", formatMoment(e.LastUse))
	}
	if e.Saves > 0 {
		rows.addRow("  would save", bytesize.Format(e.Saves)+" of memory")
	}
	if e.Loading.Total > 0 {
		rows.addRow("  its memory", progressText(e.Loading)+" loaded since its wake, the rest follows")
	}
	if e.State == "activated" {
		rows.addRow("  a hibernation", obstacleText(e.Obstacle))
	}
	if e.Failure != "" {
		again := "not until it is started anew"
		if !e.Retry.IsZero() {
			again = e.Retry.Local().Format(time.TimeOnly)
		}
		rows.addRow("  last failure", joinLines(e.Failure)+"; next attempt: "+again)
	}
	switch {
	case e.Golden != nil:
		rows.addRow("  next start", fmt.Sprintf("warm, from the golden image made %s, %s", formatMoment(e.Golden.Created), bytesize.Format(e.Golden.Bytes)))
	case e.Cold != "":
		rows.addRow("  next start", "cold: "+joinLines(e.Cold))
	}
	return fmt.Sprintf("%s: %s.\n%s", e.Callsign, joinLines(e.Why), rows.text(0))
}

func obstacleText(obstacle string) string {
	if obstacle == "" {
		return "is stopped by nothing that is known"
	}
	return "would fail: " + joinLines(obstacle)
}
