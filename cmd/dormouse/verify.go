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
)

// verifyOptions is what is to be verified, and how.
type verifyOptions struct {
	program       string
	arguments     []string
	configuration map[string]any
	// method is called with params; without one, a call of an unknown method is
	// tried.
	method  string
	params  json.RawMessage
	timeout time.Duration
	// subsystems are those that only the site of the plugin knows.
	subsystems []string
	criu       string
	keep       bool
	log        zerolog.Logger
}

func verifyVerb(flags *flag.FlagSet) action {
	format := addFormatFlag(flags)
	configuration := flags.String("config", "{}", "the plugin's configuration, `JSON` or @FILE")
	params := flags.String("params", "", "the parameters of --method, `JSON` or @FILE")
	verbose := flags.Bool("v", false, "show the host's log and the plugin's, on standard error")
	var o verifyOptions
	flags.StringVar(&o.method, "method", "", "a method `NAME` to call, before and after the sleep")
	flags.DurationVar(&o.timeout, "timeout", time.Duration(configs.DefaultPlugin().StartTimeout), "how `LONG` the plugin may take for each answer")
	flags.Func("subsystem", "the `NAME` of a subsystem that the site defines; may be given several times", func(name string) error {
		o.subsystems = append(o.subsystems, name)
		return configs.CheckNewSubsystem(name)
	})
	flags.StringVar(&o.criu, "criu", os.Getenv("DORMOUSE_CRIU"), "the `PATH` of CRIU's executable")
	flags.BoolVar(&o.keep, "keep", false, "leave the host's directory, and say where it is")
	return func(ctx context.Context, t *terminal, args []string) error {
		o.program, o.arguments = args[0], args[1:]
		if err := o.read(t, *configuration, *params); err != nil {
			return err
		}
		o.log = zerolog.Nop()
		if *verbose {
			o.log = zerolog.New(zerolog.ConsoleWriter{Out: t.err, NoColor: !t.errIsTerminal, TimeFormat: time.TimeOnly}).With().Timestamp().Logger()
		}
		v := &verification{Program: o.program}
		if !format.isJSON() {
			v.tell = func(s, before verified) { t.printf("%s", s.text(before)) }
		}
		dir, err := v.run(ctx, o)
		if err != nil {
			return fmt.Errorf("cannot verify %s: %w", o.program, err)
		}
		if o.keep {
			t.errorf("The host's directory is %s.\n", dir)
		}
		var verdict error
		if !v.OK {
			verdict = errReported
		}
		if format.isJSON() {
			return errors.Join(t.printJSON(v), verdict)
		}
		t.printf("\n%s\n", v.verdict())
		return verdict
	}
}

// read takes the JSON that the flags hold.
func (o *verifyOptions) read(t *terminal, configuration, params string) error {
	raw, err := readJSONArgument(t.in, configuration)
	if err == nil {
		err = json.Unmarshal(raw, &o.configuration)
	}
	if err != nil {
		return &usageError{err: fmt.Errorf("--config must be a JSON object: %w", err)}
	}
	if params == "" {
		return nil
	}
	if o.method == "" {
		return &usageError{err: errors.New("--params has no meaning without --method")}
	}
	o.params, err = readJSONArgument(t.in, params)
	return err
}

// verified is what became of one step.
type verified struct {
	Step    string  `json:"step"`
	Result  string  `json:"result"` // one of those below
	Found   string  `json:"found,omitempty"`
	Mend    string  `json:"mend,omitempty"`
	Seconds float64 `json:"seconds"`
}

const (
	resultOK      = "ok"
	resultFailed  = "failed"
	resultSkipped = "skipped"
)

// text is the step's line, with a second one if the author must do something.
// What was said of the step before is not said again.
func (s verified) text(before verified) string {
	took, found := fmt.Sprintf("%.0f ms", 1000*s.Seconds), joinLines(s.Found)
	if s.Result == resultSkipped {
		took = ""
		if before.Result == resultSkipped && before.Found == s.Found {
			found = ""
		}
	}
	line := strings.TrimRight(fmt.Sprintf("%-13s  %-7s  %8s  %s", s.Step, s.Result, took, found), " ") + "\n"
	if s.Mend != "" {
		line += fmt.Sprintf("%-34s→ %s\n", "", s.Mend)
	}
	return line
}

// verdict is one sentence.
func (v *verification) verdict() string {
	failed, asleep := 0, false
	for _, s := range v.Steps {
		if s.Result == resultFailed {
			failed++
		}
		asleep = asleep || s.Step == stepRestore && s.Result == resultOK
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
