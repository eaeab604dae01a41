package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// defaultHost is the address of the host when nothing names another and the control socket
// does not lead to it.
const defaultHost = "127.0.0.1:9998"

// parseFlags parses flags before, between and after the positional arguments, and
// returns the positional arguments. Everything after "--" is positional.
func parseFlags(flags *flag.FlagSet, args []string) (positional []string, err error) {
	flags.SetOutput(io.Discard)
	flags.Usage = func() {}
	for {
		if err := flags.Parse(args); err != nil {
			return nil, clarifyFlagError(err)
		}
		rest := flags.Args()
		parsed := args[:len(args)-len(rest)]
		if len(parsed) > 0 && parsed[len(parsed)-1] == "--" {
			return append(positional, rest...), nil
		}
		if len(rest) == 0 {
			return positional, nil
		}
		positional = append(positional, rest[0])
		args = rest[1:]
	}
}

// clarifyFlagError replaces the flag package's error about an unknown flag by a clearer
// one, and returns any other error as it is.
func clarifyFlagError(err error) error {
	if errors.Is(err, flag.ErrHelp) {
		return err
	}
	if name, ok := strings.CutPrefix(err.Error(), "flag provided but not defined: -"); ok {
		return fmt.Errorf("there is no flag --%s here", name)
	}
	return err
}

// addHostFlag declares the flag --host, and returns the client whose address the flag sets.
// Without the flag the client has the hostAddresses.
func addHostFlag(flags *flag.FlagSet) *client {
	c := newClient(hostAddresses(os.Getenv)...)
	c.credentials = credentialsFrom(os.Getenv)
	flags.Func("host", "the `ADDRESS` of the host, HOST:PORT, https://HOST:PORT or unix:PATH; DORMOUSE_HOST sets it too "+
		"(default the control socket, else "+defaultHost+")", func(address string) error {
		c.addresses = []string{address}
		return checkHostAddress(address)
	})
	return c
}

// outputFormat is how a verb prints its result: "table" or "json".
type outputFormat string

// addFormatFlag declares the flag -o, and returns the format that the flag sets.
func addFormatFlag(flags *flag.FlagSet) *outputFormat {
	f := outputFormat("table")
	flags.Var(&f, "o", "write the result as `FORMAT`: table or json")
	return &f
}

func (f *outputFormat) String() string { return string(*f) }

// Set implements flag.Value. It returns an error for an unknown format.
func (f *outputFormat) Set(text string) error {
	if text != "table" && text != "json" {
		return errors.New("it must be table or json")
	}
	*f = outputFormat(text)
	return nil
}

// isJSON reports whether -o json was given.
func (f *outputFormat) isJSON() bool { return *f == "json" }
