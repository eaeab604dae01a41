package controller

import (
	"errors"

	"dormouse/shell"
)

// Number is what err, which is not nil, is called in Thunder's terms: its error
// number, or a JSON-RPC code when negative, as a plugin may choose one.
func Number(err error) int {
	f := faultOf(err)
	if answer, ok := errors.AsType[*shell.PluginError](err); ok && f.number == general {
		return answer.Code
	}
	if f.number < 0 {
		return conditions[f.number].r4.code
	}
	return int(f.number)
}

// ParseVersion finds the numbers of a host's version; a mere commit has none.
func ParseVersion(text string) shell.Version { return parseVersion(text) }
