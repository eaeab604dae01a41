package configs

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Subsystems are Thunder's, in the order in which it numbers and lists them.
var Subsystems = []string{
	"Platform", "Security", "Network", "Identifier", "Graphics", "Internet", "Location", "Time",
	"Provisioning", "Decryption", "WebSource", "Streaming", "Bluetooth", "Cryptography", "Installation",
}

// AllSubsystems are Thunder's and then the site's own.
func (h Host) AllSubsystems() []string {
	return append(slices.Clone(Subsystems), h.Subsystems...)
}

// SubsystemNot takes the name of a termination apart: "!Network" is met while
// Network is down.
func SubsystemNot(name string) (subsystem string, not bool) {
	return strings.CutPrefix(name, "!")
}

var subsystemForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_-]{0,63}$`)

// CheckNewSubsystem says why a site can't define a subsystem of that name.
func CheckNewSubsystem(name string) error {
	if !subsystemForm.MatchString(name) {
		return fmt.Errorf(`%q is not the name of a subsystem: it must be a letter, then at most 63 letters, digits, "_" or "-"`, name)
	}
	if slices.ContainsFunc(Subsystems, func(s string) bool { return strings.EqualFold(s, name) }) {
		return fmt.Errorf("%q exists already", name)
	}
	return nil
}

// CheckSubsystem says what is wrong with the name of one of the known subsystems.
// With negative, it may be marked by "!".
func CheckSubsystem(name string, known []string, negative bool) error {
	subsystem, not := SubsystemNot(name)
	if not && !negative {
		return fmt.Errorf("%q must be a subsystem that is up; what is to end the instance stands in \"termination\"", name)
	}
	if slices.Contains(known, subsystem) {
		return nil
	}
	return fmt.Errorf("there is no subsystem %q%s", subsystem, didYouMean(subsystem, known))
}
