package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/plugins/sdk/verify"
)

// verifyVerb returns the action that takes a program through a plugin's whole life, on a
// host of its own, and fails if a step fails.
func verifyVerb(flags *flag.FlagSet) action {
	format := addFormatFlag(flags)
	configuration := flags.String("config", "{}", "the plugin's configuration, `JSON` or @FILE")
	params := flags.String("params", "", "the parameters of --method, `JSON` or @FILE")
	verbose := flags.Bool("v", false, "show the host's log and the plugin's, on standard error")
	o := verify.Options{Version: version, Log: zerolog.Nop()}
	flags.StringVar(&o.Method, "method", "", "a method `NAME` to call, before and after the sleep")
	flags.StringVar(&o.Flow, "flow", "", "a flow `NAME`, of which it gets one message")
	message := flags.String("message", "", "the body of that message, `TEXT` or @FILE")
	flags.DurationVar(&o.Timeout, "timeout", time.Duration(configs.DefaultPlugin().StartTimeout), "how `LONG` the plugin may take for each answer")
	flags.Func("subsystem", "the `NAME` of a subsystem that the site defines; may be given several times", func(name string) error {
		o.Subsystems = append(o.Subsystems, name)
		return configs.CheckNewSubsystem(name)
	})
	flags.StringVar(&o.CRIU, "criu", os.Getenv("DORMOUSE_CRIU"), "the `PATH` of CRIU's executable")
	flags.BoolVar(&o.Keep, "keep", false, "leave the host's directory, and say where it is")
	return func(ctx context.Context, t *terminal, args []string) error {
		o.Program, o.Arguments = args[0], args[1:]
		if err := readVerifyJSONInto(t, &o, *configuration, *params); err != nil {
			return err
		}
		if err := readVerifyMessageInto(t, &o, *message); err != nil {
			return err
		}
		if *verbose {
			o.Log = zerolog.New(newConsoleWriter(t, time.TimeOnly, false)).With().Timestamp().Logger()
		}
		var v verify.Verification
		var dir string
		err := runAndClearAway(ctx, t, func(ctx context.Context) (err error) {
			if !format.isJSON() {
				o.Report = func(s, before verify.Step) {
					if ctx.Err() == nil {
						t.printf("%s", stepLines(s, before))
					}
				}
			}
			v, dir, err = verify.Run(ctx, o)
			return err
		})
		if err != nil {
			return fmt.Errorf("cannot verify %s: %w", o.Program, err)
		}
		if o.Keep {
			t.printErrf("The host's directory is %s.\n", dir)
		}
		if format.isJSON() {
			return errors.Join(t.printIndentedJSON(v), errReportedUnless(v.OK))
		}
		t.printf("\n%s\n", verdictSentence(v))
		return errReportedUnless(v.OK)
	}
}

// readVerifyJSONInto reads the JSON of the flags --config and --params into o. The error
// is a *usageError if that does not fit.
func readVerifyJSONInto(t *terminal, o *verify.Options, configuration, params string) error {
	raw, err := readJSONArgument(t.in, configuration)
	if err == nil {
		err = json.Unmarshal(raw, &o.Configuration)
	}
	if err != nil {
		return &usageError{err: fmt.Errorf("--config must be a JSON object: %w", err)}
	}
	if params == "" {
		return nil
	}
	if o.Method == "" {
		return &usageError{err: errors.New("--params has no meaning without --method")}
	}
	o.Params, err = readJSONArgument(t.in, params)
	return err
}

// readVerifyMessageInto reads the flag --message into o. The error is a *usageError if there is no
// flow for it.
func readVerifyMessageInto(t *terminal, o *verify.Options, message string) (err error) {
	if message != "" && o.Flow == "" {
		return &usageError{err: errors.New("--message has no meaning without --flow")}
	}
	o.Message, err = readBody(t, []string{o.Flow, message})
	return err
}

// stepLines returns the line of a step, and a second line if the author must do
// something. Further lines of what was found stand below the first. It leaves out the reason of a skipped step if the step before was skipped
// for the same.
func stepLines(s, before verify.Step) string {
	took, found := fmt.Sprintf("%.0f ms", 1000*s.Seconds), strings.ReplaceAll(s.Found, "\n", fmt.Sprintf("\n%-34s", ""))
	if s.Result == verify.Skipped {
		took = ""
		if before.Result == verify.Skipped && before.Found == s.Found {
			found = ""
		}
	}
	line := strings.TrimRight(fmt.Sprintf("%-13s  %-7s  %8s  %s", s.Name, s.Result, took, found), " ") + "\n"
	if s.Mend != "" {
		line += fmt.Sprintf("%-34s→ %s\n", "", s.Mend)
	}
	return line
}

// verdictSentence returns the outcome in one sentence.
func verdictSentence(v verify.Verification) string {
	failed, asleep := 0, false
	for _, s := range v.Steps {
		if s.Result == verify.Failed {
			failed++
		}
		asleep = asleep || s.Name == verify.Restore && s.Result == verify.OK
	}
	switch {
	case failed == 0 && !v.OK:
		return v.Program + " could not be activated."
	case failed == 1:
		return "One step failed: " + v.Program + " does not hold the contract of docs/plugins.md."
	case failed > 1:
		return fmt.Sprintf("%d steps failed: %s does not hold the contract of docs/plugins.md.", failed, v.Program)
	case !asleep:
		return v.Program + " is a plugin. Whether it can be hibernated was not tried."
	}
	return v.Program + " is a plugin that can be hibernated."
}
