package configs

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"dormouse/internal/jsonrpc"
	"dormouse/internal/tomltable"
)

// ControllerCallsign is the callsign of the host itself. No configured instance may
// have it.
const ControllerCallsign = "Controller"

// PackagerCallsign is the callsign of the part of the host that installs packages.
const PackagerCallsign = "Packager"

// HostBuiltins are the callsigns of the parts of the host that are always there besides the
// Controller. No configured instance may have one.
var HostBuiltins = []string{PackagerCallsign, "Flows", "Tasks", "State", "Webhooks"}

var callsignForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,63}$`)

// CheckCallsign returns an error if the name cannot be the callsign of an instance. A
// callsign that passes is safe as a file name and as one segment of a URL, and calls to it
// are read as calls to it.
func CheckCallsign(name string) error {
	switch {
	case name == "":
		return errors.New("a callsign must not be empty")
	case !callsignForm.MatchString(name):
		return fmt.Errorf(`%q is not a callsign: it must be a letter, then at most 63 letters, digits, "_", "." or "-"`, name)
	case strings.Contains(name, "..") || strings.HasSuffix(name, "."):
		return fmt.Errorf(`%q is not a callsign: it must not hold ".." nor end in "."`, name)
	case strings.EqualFold(name, ControllerCallsign):
		return fmt.Errorf("the callsign %q is reserved: the host itself answers to it", name)
	case slices.ContainsFunc(HostBuiltins, func(b string) bool { return strings.EqualFold(b, name) }):
		return fmt.Errorf(`the callsign %q is reserved: a part of the host answers to it; give the instance another, "%s-1" for example`, name, name)
	case strings.EqualFold(name, "communicator"), strings.EqualFold(name, "control"):
		return fmt.Errorf("the callsign %q is reserved: a socket of the host is called so, beside the instances' directories", name)
	}
	if err := jsonrpc.CheckCallsign(name); err != nil {
		return fmt.Errorf("%q can't be a callsign: %w", name, err)
	}
	return nil
}

// checkWebOrigin returns an error if the origin is neither scheme://host, with a port or
// without, nor what browsers send for pages in files: file:// or null.
func checkWebOrigin(origin string) error {
	if origin == "file://" || origin == "null" {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || strings.Contains(u.Host, "*") || origin != u.Scheme+"://"+u.Host {
		return fmt.Errorf("%q is not a web origin such as \"https://tv.example:8443\", nor file:// or null", origin)
	}
	return nil
}

// checkHostName returns an error if the name is empty or has a character that no host name
// has.
func checkHostName(name string) error {
	if name == "" || strings.ContainsAny(name, "/@*, \t") {
		return fmt.Errorf("%q is not a host name such as \"tv.example\"", name)
	}
	return nil
}

// Builtins are the built-ins that a configured instance may be.
var Builtins = []string{"Monitor"}

// checkBuiltin returns an error if the host has no built-in of that name. "" stands for none.
func checkBuiltin(name string) error {
	if name == "" || slices.Contains(Builtins, name) {
		return nil
	}
	return fmt.Errorf("there is no builtin %q, only: %s%s", name, strings.Join(Builtins, ", "), tomltable.DidYouMeanText(name, Builtins))
}

// checkNotEmpty returns an error if s is "".
func checkNotEmpty(s string) error {
	if s == "" {
		return errors.New("must not be empty")
	}
	return nil
}
