package main

import (
	"context"
	"errors"
	"flag"
	"os"

	"dormouse/configs"
)

// configCheckVerb returns the action that prints all faults of a configuration, and fails
// if there are any.
func configCheckVerb(flags *flag.FlagSet) action {
	format := addFormatFlag(flags)
	path := flags.String("config", "", "the configuration `FILE`, "+configs.DefaultPath+" if not given")
	return func(_ context.Context, t *terminal, _ []string) error {
		config, err := configs.Load(*path, os.Getenv, configs.Overrides{})
		if err != nil && !errors.As(err, &configs.LoadErrors{}) {
			return err
		}
		found, _ := errors.AsType[configs.LoadErrors](err)
		if format.isJSON() {
			return errors.Join(t.printIndentedJSON(problemRecords(found)), errReportedUnless(err == nil))
		}
		if err != nil {
			t.printf("%v\n", err)
			return errReported
		}
		name := *path
		if name == "" {
			name = configs.DefaultPath
		}
		t.printf("%s: nothing wrong, %d plugins\n", name, len(config.Plugins))
		return nil
	}
}

// problem is one thing that is wrong with a configuration.
type problem struct {
	Source  string `json:"source"`
	Line    int    `json:"line,omitempty"`
	Message string `json:"message"`
}

// problemRecords returns the errors of a configuration as records for JSON.
func problemRecords(found configs.LoadErrors) []problem {
	list := make([]problem, len(found))
	for i, e := range found {
		list[i] = problem{e.Source, e.Line, e.Err.Error()}
	}
	return list
}
