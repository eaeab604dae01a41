package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// hasNumber reports whether the host answered with one of the numbers. The client
// speaks R4.
func hasNumber(err error, numbers ...thunder.Number) bool {
	remote, ok := errors.AsType[*remoteError](err)
	return ok && slices.ContainsFunc(numbers, func(n thunder.Number) bool { return n.R4().Code == remote.Code })
}

// unknownInstanceError returns an error that lists the instances which do exist.
func (c *client) unknownInstanceError(ctx context.Context, callsign string) error {
	all, err := c.listInstances(ctx, "")
	if err != nil {
		return err
	}
	var names []string
	for _, r := range all {
		names = append(names, r.Callsign)
	}
	return fmt.Errorf("there is no instance %q%s", callsign, suggestion(callsign, names))
}

// commandLine returns a command for the same host, ready to be pasted.
func (c *client) commandLine(words string) string {
	line := os.Args[0] + " " + words
	if c.address != defaultHost {
		line += " --host " + c.address
	}
	return line
}

// addAdvice adds to an error of a verb on an instance what the user can do next.
func (c *client) addAdvice(ctx context.Context, verb, callsign string, err error) error {
	remote, ok := errors.AsType[*remoteError](err)
	if !ok {
		return err
	}
	if hasNumber(err, thunder.UnknownKey, thunder.NotExist) {
		if all, rerr := c.listInstances(ctx, ""); rerr == nil && !hasCallsign(all, callsign) {
			return c.unknownInstanceError(ctx, callsign)
		}
	}
	text := strings.Replace(remote.Error(), shell.ErrIllegalState.Error()+": ", "", 1) // the rest says it better
	try := func(command string) error {
		return fmt.Errorf("%s; try: %s", text, command)
	}
	switch {
	case hasNumber(err, thunder.IllegalState) && verb == "hibernate" && strings.Contains(text, "resumed"):
		return try(c.commandLine("plugin suspend " + callsign))
	case hasNumber(err, thunder.Hibernated), hasNumber(err, thunder.Unavailable) && verb == "call":
		return try(c.commandLine("plugin activate " + callsign))
	case hasNumber(err, thunder.NotSupported):
		return try(os.Args[0] + " doctor")
	case hasNumber(err, thunder.OpeningFailed, thunder.InProgress, thunder.IllegalState):
		return try(c.commandLine("plugin show " + callsign))
	}
	return errors.New(text)
}

// hasCallsign reports whether one of the instances has that callsign.
func hasCallsign(all []instanceRecord, callsign string) bool {
	for _, r := range all {
		if r.Callsign == callsign {
			return true
		}
	}
	return false
}
