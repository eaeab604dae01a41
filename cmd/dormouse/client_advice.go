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

// hasAnyErrorNumber reports whether err is a host's answer with one of Thunder's error
// numbers, as R4 spells them.
func hasAnyErrorNumber(err error, numbers ...thunder.ErrorNumber) bool {
	remote, ok := errors.AsType[*remoteError](err)
	return ok && slices.ContainsFunc(numbers, func(n thunder.ErrorNumber) bool { return n.R4Error().Code == remote.Code })
}

// unknownInstanceError returns the error for a callsign that no instance has. The error gives
// the cause that the host has sent in unknown, or else lists the similar callsigns, or all
// callsigns if no similar one exists. If the host can't be asked for its callsigns,
// unknownInstanceError returns the error of that request.
func (c *client) unknownInstanceError(ctx context.Context, callsign string, unknown error) error {
	if remote, ok := errors.AsType[*remoteError](unknown); ok && remote.cause() != "" {
		return fmt.Errorf("there is no instance %q: %s", callsign, remote.cause())
	}
	all, err := c.listInstances(ctx, "")
	if err != nil {
		return err
	}
	var names []string
	for _, r := range all {
		names = append(names, r.Callsign)
	}
	return fmt.Errorf("there is no instance %q%s", callsign, similarOrKnownWordsText(callsign, names))
}

// commandLineForSameHost returns the words as a command line of this program for the same
// host, ready to be pasted.
func (c *client) commandLineForSameHost(words string) string {
	line := os.Args[0] + " " + words
	if len(c.addresses) == 1 && c.addresses[0] != defaultHost {
		line += " --host " + c.addresses[0]
	}
	return line
}

// rewordWithAdvice returns err, the error of a verb on an instance, with a command that
// the user can try next, or with similar callsigns if the instance does not exist. It
// leaves out "cannot VERB: ", which the caller adds. An error that the host did not
// answer stays as it is.
func (c *client) rewordWithAdvice(ctx context.Context, verb, callsign string, err error) error {
	remote, ok := errors.AsType[*remoteError](err)
	if !ok {
		return err
	}
	if hasAnyErrorNumber(err, thunder.UnknownKey, thunder.NotExist) {
		if _, rerr := c.listInstances(ctx, callsign); hasAnyErrorNumber(rerr, thunder.UnknownKey) {
			return c.unknownInstanceError(ctx, callsign, rerr)
		}
	}
	text := strings.Replace(remote.Error(), shell.ErrIllegalState.Error()+": ", "", 1) // the rest says it better
	text = strings.TrimPrefix(text, "cannot "+verb+": ")                               // the caller says so too
	text = strings.TrimPrefix(text, "cannot "+verb+" "+callsign+": ")
	if strings.Contains(text, "dormouse plugin ") {
		return errors.New(text) // the host says what to do
	}
	if parent, _, found := strings.Cut(strings.TrimPrefix(text, "its parent "), ": "); found && strings.HasPrefix(text, "its parent ") && verb == "call" {
		callsign = parent // a virtual plugin is active once its parent is
	}
	try := func(command string) error {
		return fmt.Errorf("%s; try: %s", text, command)
	}
	switch {
	case hasAnyErrorNumber(err, thunder.IllegalState) && verb == "hibernate" && strings.Contains(text, "resumed"):
		return try(c.commandLineForSameHost("plugin suspend " + callsign))
	case hasAnyErrorNumber(err, thunder.Hibernated) && strings.Contains(text, "cannot wake"):
		if verb != "deactivate" && verb != "destroy" {
			verb = "activate"
		}
		return fmt.Errorf("%s; mend that and try again, or give up what it held: %s", text, c.commandLineForSameHost("plugin "+verb+" "+callsign+" --cold"))
	case verb == putBackVerb:
		return c.adviceForPutBack(callsign, text, err)
	case hasAnyErrorNumber(err, thunder.Hibernated), hasAnyErrorNumber(err, thunder.Unavailable) && verb == "call":
		return try(c.commandLineForSameHost("plugin activate " + callsign))
	case hasAnyErrorNumber(err, thunder.NotSupported):
		return try(os.Args[0] + " doctor")
	case hasAnyErrorNumber(err, thunder.OpeningFailed, thunder.InProgress, thunder.IllegalState, thunder.RPCCallFailed):
		return try(c.commandLineForSameHost("plugin show " + callsign))
	}
	return errors.New(text)
}

// putBackVerb is what the host calls the work of images restore.
const putBackVerb = "put an image back"

// adviceForPutBack returns the error of images restore with what the user can do: end what runs,
// undo what has changed since the image was made, or look at what is kept.
func (c *client) adviceForPutBack(callsign, text string, err error) error {
	switch {
	case hasAnyErrorNumber(err, thunder.IllegalState, thunder.InProgress):
		return fmt.Errorf("%s, and an image is put back only in the place of a plugin that neither runs nor sleeps; end it, which gives up what it holds now: %s", text, c.commandLineForSameHost("plugin deactivate "+callsign))
	case strings.Contains(text, "stays aside"):
		return fmt.Errorf("%s; undo that change and try again, the image is kept meanwhile", text)
	}
	return fmt.Errorf("%s; what is kept of it: %s images list", text, os.Args[0])
}
