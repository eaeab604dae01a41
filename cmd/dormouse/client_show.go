package main

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"time"

	"dormouse/internal/bytesize"
)

// listVerb returns the action that lists the instances.
func listVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, _ []string) error {
		all, err := c.listInstances(ctx, "")
		if err != nil {
			return err
		}
		if format.isJSON() {
			return t.printIndentedJSON(all)
		}
		rows := table{}
		rows.addRow("NAME", "STATE", "PID", "MEMORY", "IMAGE", "SINCE", "REASON")
		for _, r := range all {
			rows.addRow(r.Callsign, r.transitionOrState(), pidOrDash(r), bytesOrDash(r.Memory), bytesOrDash(r.imageOrSwapBytes()), formatAge(time.Since(parseTimeOrZero(r.Since))), reasonText(r.Reason, r.Error)+r.goneSourceText()+r.parentText())
		}
		t.printf("%s", rows.alignedText(t.width))
		if packages, err := c.listPackages(ctx); err == nil && len(packages) > 0 { // the list is right without them
			t.printf("\n%s", packagesTable(packages, t.width))
		}
		for _, lost := range c.listLosses(ctx) {
			t.printf("%s\n", lost.warningText())
		}
		for _, file := range c.leftOutFiles(ctx) {
			t.printf("%s\n", file.warningText())
		}
		if damage, mend := c.storeDamage(ctx); damage != "" {
			t.printf("the store is damaged: %s; %s\n", damage, mend)
		}
		return nil
	}
}

// showVerb returns the action that prints everything about one instance, or about the package
// of that very name.
func showVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		r, err := c.getInstance(ctx, args[0])
		if err != nil || r.Callsign != args[0] {
			if p, perr := c.getPackage(ctx, args[0]); perr == nil {
				return c.printPackage(ctx, t, p, format)
			}
		}
		if err != nil {
			return err
		}
		if format.isJSON() {
			return t.printIndentedJSON(r)
		}
		t.printf("%s", r.detailsText(c.virtualsOf(ctx, r.Callsign)))
		c.warnOfUnmetUses(ctx, t, r.Callsign)
		return nil
	}
}

// virtualsOf returns the callsigns of the virtual plugins of an instance, none if the host does not
// say.
func (c *client) virtualsOf(ctx context.Context, parent string) (callsigns []string) {
	all, _ := c.listInstances(ctx, "") // the record is right without them
	for _, r := range all {
		if r.Parent == parent {
			callsigns = append(callsigns, r.Callsign)
		}
	}
	return callsigns
}

// detailsText returns everything about the instance, with its virtual plugins, for a person.
func (r instanceRecord) detailsText(virtuals []string) string {
	rows := table{}
	add := func(name, value string) {
		if value != "" {
			rows.addRow(name, value)
		}
	}
	add("callsign", r.Callsign)
	add("state", r.transitionOrState())
	add("reason", wordsOfPascalCase(r.Reason))
	add("since", formatTimeAndAge(r.Since))
	rows.addTextRows("error", r.Error)
	for _, lost := range r.Lost {
		add("lost", "what it slept in, "+lossText(lost))
	}
	if r.Clone != nil {
		add("clone of", r.Clone.Of+r.goneSourceText())
		add("of its own", strings.Join(r.Clone.Own, ", "))
	}
	add("virtual plugin of", r.Parent)
	add("virtual plugins", strings.Join(virtuals, ", "))
	add("package", r.Package)
	add("class", fmt.Sprintf("%s %d.%d.%d", r.ClassName, r.Version.Major, r.Version.Minor, r.Version.Patch))
	add("executable", r.Locator)
	add("start mode", wordsOfPascalCase(r.StartMode))
	add("startup order", fmt.Sprint(r.StartupOrder))
	add("needs", strings.Join(r.Precondition, ", "))
	add("ended by", strings.Join(r.Termination, ", "))
	add("controls", strings.Join(r.Control, ", "))
	if r.PID != 0 {
		add("pid", pidOrDash(r))
		add("memory", bytesOrDash(r.Memory))
	}
	if r.Loading != nil {
		add("loading", progressInMiB(*r.Loading)+" of it since its wake")
	}
	if r.ImageRead > 0 {
		add("read", bytesize.Format(r.ImageRead)+" of its image from disk")
	}
	if r.Image != nil {
		add("image", bytesize.Format(r.Image.Bytes)+" by "+r.Image.Engine+", made "+formatTimeAndAge(r.Image.Created))
	}
	if r.Warm != nil {
		add("started", fmt.Sprintf("warm, from the golden image made %s, as generation %d", formatTimeAndAge(r.Warm.Created), r.Warm.Generation))
	}
	add("calls", fmt.Sprint(r.Requests))
	add("observers", fmt.Sprint(r.Observers))
	add("configuration", string(r.Configuration))
	if len(r.History) == 0 {
		return rows.alignedText(0)
	}
	text := rows.alignedText(0) + "\nhistory\n"
	rows = table{}
	for _, h := range r.History {
		change := fmt.Sprintf("%s → %s", h.From, h.To)
		if h.From == h.To {
			change = string(h.Control)
		}
		rows.addRow("  "+parseTimeOrZero(h.At).Local().Format(time.DateTime+".000"), string(h.Event), change, reasonText(h.Reason, h.Error))
	}
	return text + rows.alignedText(0)
}

// goneSourceText returns the end of a text about a clone, which says that its source is gone;
// "" for any other instance.
func (r instanceRecord) goneSourceText() string {
	if r.Clone == nil || !r.Clone.Gone {
		return ""
	}
	return fmt.Sprintf("; it has the last configuration of %s, which is gone", r.Clone.Of)
}

// parentText returns the end of a text about a virtual plugin, which names its parent; "" for any
// other instance.
func (r instanceRecord) parentText() string {
	if r.Parent == "" {
		return ""
	}
	return "; a virtual plugin of " + r.Parent
}

// pidOrDash returns the pid of the plugin, or a dash.
func pidOrDash(r instanceRecord) string {
	if r.PID == 0 {
		return "-"
	}
	return fmt.Sprint(r.PID)
}

// reasonText returns the reason of a state in words, and the error behind it in one line. It
// leaves out a reason with which the error begins.
func reasonText(reason, failure string) string {
	reason, failure = wordsOfPascalCase(reason), errorCell(failure)
	switch {
	case failure == "":
		return reason
	case reason == "" || strings.HasPrefix(failure, reason):
		return failure
	}
	return reason + ": " + failure
}

// formatTimeAndAge formats a time that the host sent in RFC 3339, and how long ago it was.
func formatTimeAndAge(rfc3339 string) string {
	t := parseTimeOrZero(rfc3339)
	return fmt.Sprintf("%s (%s ago)", t.Local().Format(time.DateTime), formatAge(time.Since(t)))
}

// parseTimeOrZero returns a time that the host sent in RFC 3339, zero if rfc3339 is "" or
// something else.
func parseTimeOrZero(rfc3339 string) time.Time {
	t, _ := time.Parse(time.RFC3339, rfc3339)
	return t
}
