package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"dormouse/shell"
)

// Numbers of Thunder's, as the host writes them, that a client can advise on.
const (
	notActive     = 2
	illegalState  = 5
	openingFailed = 6
	inProgress    = 12
	unknownKey    = 22
	notSupported  = 44
	hibernated    = 46
	notFound      = -32603
	unknownMethod = -32601
)

func isRemote(err error, code int) bool {
	remote, ok := errors.AsType[*remoteError](err)
	return ok && remote.Code == code
}

// unknown says that there is no such instance, and which there are.
func (c *client) unknown(ctx context.Context, callsign string) error {
	all, err := c.records(ctx, "")
	if err != nil {
		return err
	}
	var names []string
	for _, r := range all {
		names = append(names, r.Callsign)
	}
	return fmt.Errorf("there is no instance %q%s", callsign, orSo(callsign, names))
}

// command is a command line that asks the same host, ready to be pasted.
func (c *client) command(words string) string {
	line := os.Args[0] + " " + words
	if c.host != defaultHost {
		line += " --host " + c.host
	}
	return line
}

// advise completes an error of a verb on an instance by what can be done next.
func (c *client) advise(ctx context.Context, verb, callsign string, err error) error {
	remote, ok := errors.AsType[*remoteError](err)
	if !ok {
		return err
	}
	if remote.Code == unknownKey || remote.Code == notFound {
		if all, rerr := c.records(ctx, ""); rerr == nil && !holds(all, callsign) {
			return c.unknown(ctx, callsign)
		}
	}
	text := strings.Replace(remote.Error(), shell.ErrIllegalState.Error()+": ", "", 1) // the rest says it better
	try := func(command string) error {
		return fmt.Errorf("%s; try: %s", text, command)
	}
	switch {
	case remote.Code == illegalState && verb == "hibernate" && strings.Contains(text, "resumed"):
		return try(c.command("plugin suspend " + callsign))
	case remote.Code == hibernated, remote.Code == notActive && verb == "call":
		return try(c.command("plugin activate " + callsign))
	case remote.Code == notSupported:
		return try(os.Args[0] + " doctor")
	case remote.Code == openingFailed, remote.Code == inProgress, remote.Code == illegalState:
		return try(c.command("plugin show " + callsign))
	}
	return errors.New(text)
}

func holds(all []record, callsign string) bool {
	for _, r := range all {
		if r.Callsign == callsign {
			return true
		}
	}
	return false
}
