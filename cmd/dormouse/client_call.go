package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// callVerb returns the action that calls a method of a plugin or of the Controller, and
// prints the result.
func callVerb(flags *flag.FlagSet) action {
	c, format := addHostFlag(flags), addFormatFlag(flags)
	return func(ctx context.Context, t *terminal, args []string) error {
		method := args[0]
		callsign, _, ok := cutAtLastInner(method, ".")
		if !ok {
			return &usageError{err: fmt.Errorf("%q is not CALLSIGN.METHOD", method)}
		}
		var params any
		if len(args) > 1 {
			raw, err := readJSONArgument(t.in, args[1])
			if err != nil {
				return err
			}
			params = raw
		}
		result, err := c.call(ctx, method, params)
		if err != nil {
			return fmt.Errorf("cannot call %s: %w", method, c.rewordWithAdvice(ctx, "call", withoutVersion(callsign), err))
		}
		return t.printResultJSON(result, format)
	}
}

// readJSONArgument returns the JSON that jsonOrFileOrDash stands for: the argument itself, the
// content of FILE if it is @FILE, or the content of in if it is "-". The error is a
// *usageError if that is not JSON.
func readJSONArgument(in io.Reader, jsonOrFileOrDash string) (json.RawMessage, error) {
	raw, from, err := readArgument(in, jsonOrFileOrDash)
	if err != nil {
		return nil, err
	}
	raw = bytes.TrimSpace(raw)
	var parsed json.RawMessage
	if err := json.Unmarshal(raw, &parsed); err != nil {
		return nil, &usageError{err: fmt.Errorf("%s must be JSON, such as '{\"by\":1}': %w", from, err)}
	}
	return raw, nil
}

// readArgument returns what textOrFileOrDash stands for: the argument itself, the content of FILE
// if it is @FILE, or the content of in if it is "-"; and the name of where that was.
func readArgument(in io.Reader, textOrFileOrDash string) (raw []byte, from string, err error) {
	path, isFile := strings.CutPrefix(textOrFileOrDash, "@")
	switch {
	case textOrFileOrDash == "-":
		from = "standard input"
		raw, err = io.ReadAll(in)
	case isFile:
		from = path
		raw, err = os.ReadFile(path)
	default:
		return []byte(textOrFileOrDash), "the argument", nil
	}
	if ofFile, ok := errors.AsType[*fs.PathError](err); ok {
		err = ofFile.Err // without the name
	}
	if err != nil {
		return nil, from, fmt.Errorf("cannot read %s: %w", from, err)
	}
	return raw, from, nil
}

// withoutVersion removes the version that may follow a callsign: "Counter.1" becomes
// "Counter".
func withoutVersion(callsign string) string {
	if name, digits, ok := cutAtLastInner(callsign, "."); ok && strings.Trim(digits, "0123456789") == "" {
		return name
	}
	return callsign
}

// cutAtLastInner is strings.Cut around the last sep. Found is false if sep is missing, or
// if the last sep is at either end of s.
func cutAtLastInner(s, sep string) (before, after string, found bool) {
	i := strings.LastIndex(s, sep)
	if i <= 0 || i == len(s)-len(sep) {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}
