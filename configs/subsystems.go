package configs

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"dormouse/internal/tomltable"
)

// Subsystems are the names of Thunder's subsystems, in the order in which Thunder
// numbers them.
var Subsystems = []string{
	"Platform", "Security", "Network", "Identifier", "Graphics", "Internet", "Location", "Time",
	"Provisioning", "Decryption", "WebSource", "Streaming", "Bluetooth", "Cryptography", "Installation",
}

// AllSubsystems returns Thunder's subsystems, followed by those that the operator defines.
func (h Host) AllSubsystems() []string {
	return append(slices.Clone(Subsystems), h.Subsystems...)
}

// SplitTermination returns the subsystem of a termination such as "!Network", and negated =
// true if the termination begins with "!", which means that the subsystem is down.
func SplitTermination(termination string) (subsystem string, negated bool) {
	return strings.CutPrefix(termination, "!")
}

var subsystemForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)

// CheckNewSubsystem returns an error if the operator cannot define a subsystem of that
// name: the name is malformed, or Thunder's.
func CheckNewSubsystem(name string) error {
	if !subsystemForm.MatchString(name) {
		return fmt.Errorf(`%q is not the name of a subsystem: it must be a letter, then at most 63 letters, digits, "_" or "-"`, name)
	}
	if slices.ContainsFunc(Subsystems, func(s string) bool { return strings.EqualFold(s, name) }) {
		return fmt.Errorf("%q exists already", name)
	}
	return nil
}

// CheckSubsystem returns an error if the name is not one of the known subsystems. If
// mayBeNegated is true, a "!" may stand before the name.
func CheckSubsystem(name string, known []string, mayBeNegated bool) error {
	subsystem, negated := SplitTermination(name)
	if negated && !mayBeNegated {
		return fmt.Errorf("%q must be a subsystem that is up; what is to end the instance stands in \"termination\"", name)
	}
	if slices.Contains(known, subsystem) {
		return nil
	}
	return fmt.Errorf("there is no subsystem %q%s", subsystem, tomltable.DidYouMeanText(subsystem, known))
}
