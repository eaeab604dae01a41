package main

import (
	"context"
	"flag"
	"fmt"
	"runtime"
	"strings"
)

// verbOverview returns the help text that lists all verbs, or those whose first word is
// group.
func verbOverview(group string) string {
	var b strings.Builder
	b.WriteString("Dormouse supervises plugins and puts those that are not needed to sleep on disk.\n\n" +
		"Usage: dormouse VERB [flags] [arguments]\n\n")
	rows := table{}
	for _, v := range verbs() {
		if group == "" || strings.HasPrefix(v.name, group+" ") {
			rows.addRow("  "+strings.TrimSpace(v.name+" "+v.args), v.summary)
		}
	}
	b.WriteString(rows.alignedText(0))
	fmt.Fprintf(&b, "\n`dormouse VERB --help` says more. Exit codes: %d done, %d failed, %d wrong usage, %d no host reached.\n",
		exitDone, exitFailed, exitUsage, exitUnreachable)
	return b.String()
}

// helpText returns what `dormouse VERB --help` prints.
func (v verb) helpText() string {
	var b strings.Builder
	flags := flag.NewFlagSet(v.name, flag.ContinueOnError)
	v.prepare(flags)
	usage := strings.TrimSpace(v.name + " " + v.args)
	fmt.Fprintf(&b, "dormouse %s: %s\n\n", v.name, v.summary)
	if v.doc != "" {
		fmt.Fprintf(&b, "%s\n\n", v.doc)
	}
	fmt.Fprintf(&b, "Usage:\n  dormouse %s [flags]\n\nExample:\n  %s\n", usage, v.example)
	rows := table{}
	flags.VisitAll(func(f *flag.Flag) {
		name, about := flag.UnquoteUsage(f)
		dashes := "--"
		if len(f.Name) == 1 {
			dashes = "-"
		}
		if f.DefValue != "" && f.DefValue != "0s" && f.DefValue != "false" {
			about += fmt.Sprintf(" (default %s)", f.DefValue)
		}
		rows.addRow("  "+strings.TrimSpace(dashes+f.Name+" "+name), about)
	})
	if len(rows.rows) > 0 {
		b.WriteString("\nFlags:\n" + rows.alignedText(0))
	}
	return b.String()
}

// helpVerb returns the action that prints the help text of one verb, or the overview of the
// verbs.
func helpVerb(*flag.FlagSet) action {
	return func(_ context.Context, t *terminal, args []string) error {
		if len(args) == 0 {
			t.printf("%s", verbOverview(""))
			return nil
		}
		v, _, err := findVerbOrGroup(args)
		switch {
		case err != nil:
			return err
		case v == nil:
			t.printf("%s", verbOverview(args[0]))
		default:
			t.printf("%s", v.helpText())
		}
		return nil
	}
}

// versionVerb returns the action that prints the version of the program, of Go, and the
// platform.
func versionVerb(flags *flag.FlagSet) action {
	format := addFormatFlag(flags)
	return func(_ context.Context, t *terminal, _ []string) error {
		platform := runtime.GOOS + "/" + runtime.GOARCH
		if format.isJSON() {
			return t.printIndentedJSON(map[string]string{"version": version, "go": runtime.Version(), "platform": platform})
		}
		t.printf("dormouse %s (%s, %s)\n", version, runtime.Version(), platform)
		return nil
	}
}
