package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"io/fs"
	"os"

	"dormouse/configs"
	"dormouse/internal/tamper"
)

// configCheckVerb returns the action that prints all faults of a configuration, also what it
// names and what does not exist here, and fails if there are any.
func configCheckVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	path := flags.String("config", "", "the configuration `FILE`, "+configs.DefaultPath+" if not given")
	return func(ctx context.Context, t *terminal, _ []string) error {
		config, references, err := configs.LoadWithReferences(*path, os.Getenv, configs.Overrides{})
		found, _ := errors.AsType[configs.LoadErrors](err)
		if err != nil && len(found) == 0 {
			return err
		}
		found = append(found, brokenReferences(references, tamper.GuardFor(config.Host.Root))...)
		if len(found) == 0 {
			found = append(found, unusableKeys(config, references)...)
		}
		hasMain := *path != "" || exists(configs.DefaultPath)
		if !hasMain && err == nil && len(config.Plugins) == 0 {
			found = append(found, configs.LoadError{Source: configs.DefaultPath, Err: errors.New("there is no such file, nor any drop-in: a host would run no plugin")})
		}
		var warnings []string
		if len(found) == 0 {
			for _, u := range c.unmetUsesOf(ctx, config) {
				if u.Use.Required {
					found = append(found, configs.LoadError{Source: cmp.Or(*path, configs.DefaultPath), Err: errors.New(u.String())})
				} else {
					warnings = append(warnings, u.String())
				}
			}
		}
		found = found.SortInPlace()
		if format.isJSON() {
			return errors.Join(t.printIndentedJSON(problemRecords(found)), errReportedUnless(len(found) == 0))
		}
		if len(found) > 0 {
			t.printf("%v\n", found)
			return errReported
		}
		for _, text := range warnings {
			t.printf("%s\n", text)
		}
		name := cmp.Or(*path, configs.DefaultPath)
		if !hasMain {
			name += " does not exist, the defaults count"
		}
		t.printf("%s: nothing wrong, %d plugins\n", name, len(config.Plugins))
		for _, awaited := range config.Awaited {
			t.printf("note: %v\n", awaited)
		}
		return nil
	}
}

// exists reports whether there is a file at path.
func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, fs.ErrNotExist)
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
