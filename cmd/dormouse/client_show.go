package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"strings"
	"time"
)

func prepareList(flags *flag.FlagSet) action {
	c, format := clientFlags(flags), formatFlag(flags)
	return func(ctx context.Context, t *terminal, _ []string) error {
		all, err := c.records(ctx, "")
		if err != nil {
			return err
		}
		if format.json() {
			raws := make([]json.RawMessage, len(all))
			for i, r := range all {
				raws[i] = r.raw
			}
			return t.sayJSON(raws)
		}
		rows := table{}
		rows.add("NAME", "STATE", "PID", "MEMORY", "IMAGE", "SINCE", "REASON")
		for _, r := range all {
			rows.add(r.Callsign, r.state(), pid(r), sizeOr(r.Memory), sizeOr(r.image()), age(time.Since(r.Since)), because(r.Reason, r.Error))
		}
		t.say("%s", rows.text(t.width))
		return nil
	}
}

func prepareShow(flags *flag.FlagSet) action {
	c, format := clientFlags(flags), formatFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		r, err := c.record(ctx, args[0])
		if err != nil {
			return err
		}
		if format.json() {
			return t.sayJSON(r.raw)
		}
		t.say("%s", r.text())
		return nil
	}
}

// text is all that is known of the instance, for a person.
func (r record) text() string {
	rows := table{}
	add := func(name, value string) {
		if value != "" {
			rows.add(name, value)
		}
	}
	add("callsign", r.Callsign)
	add("state", r.state())
	add("reason", words(r.Reason))
	add("since", moment(r.Since))
	add("error", oneLine(r.Error))
	add("class", fmt.Sprintf("%s %d.%d.%d", r.ClassName, r.Version.Major, r.Version.Minor, r.Version.Patch))
	add("executable", r.Locator)
	add("start mode", words(r.StartMode))
	add("startup order", fmt.Sprint(r.StartupOrder))
	add("needs", strings.Join(r.Precondition, ", "))
	add("ended by", strings.Join(r.Termination, ", "))
	add("controls", strings.Join(r.Control, ", "))
	if r.PID != 0 {
		add("pid", pid(r))
		add("memory", sizeOr(r.Memory))
	}
	if r.Loading.Total > 0 {
		add("loading", r.Loading.text()+" of it since its wake")
	}
	if r.Image != nil {
		add("image", size(r.Image.Bytes)+" by "+r.Image.Engine+", made "+moment(r.Image.Created))
	}
	if r.Warm != nil {
		add("started", fmt.Sprintf("warm, from the golden image made %s, as generation %d", moment(r.Warm.Created), r.Warm.Generation))
	}
	add("calls", fmt.Sprint(r.Requests))
	add("observers", fmt.Sprint(r.Observers))
	add("configuration", string(r.Configuration))
	if len(r.History) == 0 {
		return rows.text(0)
	}
	text := rows.text(0) + "\nhistory\n"
	rows = table{}
	for _, h := range r.History {
		change := h.From + " → " + h.To
		if h.From == h.To {
			change = h.Control
		}
		rows.add("  "+h.At.Local().Format(time.DateTime+".000"), h.Event, change, because(h.Reason, h.Error))
	}
	return text + rows.text(0)
}

func pid(r record) string {
	if r.PID == 0 {
		return "-"
	}
	return fmt.Sprint(r.PID)
}

// because is the reason in words, with the error behind it. Some errors begin
// with their reason.
func because(reason, failure string) string {
	reason, failure = words(reason), oneLine(failure)
	switch {
	case failure == "":
		return reason
	case reason == "" || strings.HasPrefix(failure, reason):
		return failure
	}
	return reason + ": " + failure
}

func moment(t time.Time) string {
	return fmt.Sprintf("%s (%s ago)", t.Local().Format(time.DateTime), age(time.Since(t)))
}
