package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"dormouse/configs"
	"dormouse/plugins/access"
)

// addTokenFileFlags declares the flags that name a host's configuration, and returns the
// function that returns the host's token file.
func addTokenFileFlags(flags *flag.FlagSet) func() (access.TokenFile, error) {
	path := flags.String("config", "", "the configuration `FILE` of the host, "+configs.DefaultPath+" if not given")
	var o configs.Overrides
	flags.StringVar(&o.Root, "root", "", "the root `DIR` of the host, if it was started with --root")
	return func() (access.TokenFile, error) {
		if o.Root != "" { // it is known without the file
			return access.TokenFileIn(o.Root), nil
		}
		config, err := configs.Load(*path, os.Getenv, o)
		if err != nil {
			return "", fmt.Errorf("cannot tell where the host keeps its tokens:\n%w", err)
		}
		return access.TokenFileIn(config.Host.Root), nil
	}
}

// tokenAddVerb returns the action that makes a token and prints it.
func tokenAddVerb(flags *flag.FlagSet) action {
	file, format := addTokenFileFlags(flags), addFormatFlag(flags)
	return func(_ context.Context, t *terminal, args []string) error {
		f, err := file()
		if err != nil {
			return err
		}
		token, err := f.Add(args[0])
		if errors.Is(err, access.ErrTokenExists) {
			return fmt.Errorf("%w; revoke it first, or take another name", err)
		}
		if err != nil {
			return err
		}
		if format.isJSON() {
			return t.printIndentedJSON(struct {
				Name  string `json:"name"`
				Token string `json:"token"`
			}{args[0], token})
		}
		t.printf("%s\n", token)
		t.printErrf("This is the only time that the token is shown. It may do what the configuration says:\n\n"+
			"  [[access]]\n  token = %q\n  role = \"call\"\n\n", args[0])
		return nil
	}
}

// tokenListVerb returns the action that lists the tokens by name.
func tokenListVerb(flags *flag.FlagSet) action {
	file, format := addTokenFileFlags(flags), addFormatFlag(flags)
	return func(_ context.Context, t *terminal, _ []string) error {
		f, err := file()
		if err != nil {
			return err
		}
		tokens, err := f.Read()
		if err != nil {
			return err
		}
		if format.isJSON() {
			records := make([]tokenRecord, len(tokens))
			for i, token := range tokens {
				records[i] = tokenRecord{token.Name, token.Created}
			}
			return t.printIndentedJSON(records)
		}
		if len(tokens) == 0 {
			t.printErrf("There are no tokens. `dormouse token add NAME` makes one.\n")
			return nil
		}
		rows := table{}
		rows.addRow("TOKEN", "CREATED")
		for _, token := range tokens {
			rows.addRow(token.Name, token.Created.Local().Format(time.DateTime))
		}
		t.printf("%s", rows.alignedText(t.width))
		return nil
	}
}

// tokenRecord is a token as -o json prints it.
type tokenRecord struct {
	Name    string    `json:"name"`
	Created time.Time `json:"created"`
}

// tokenRevokeVerb returns the action that revokes tokens.
func tokenRevokeVerb(flags *flag.FlagSet) action {
	file := addTokenFileFlags(flags)
	return func(_ context.Context, t *terminal, names []string) error {
		f, err := file()
		if err != nil {
			return err
		}
		var failed []error
		for _, name := range names {
			if err := f.Revoke(name); err != nil {
				failed = append(failed, err)
				continue
			}
			t.printErrf("%s is revoked; a running host ends its connections now\n", name)
		}
		return errors.Join(failed...)
	}
}
