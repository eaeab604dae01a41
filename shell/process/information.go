package process

import (
	"fmt"
	"slices"

	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// What a plugin may say of itself at most: the host keeps it, looks through it at each change
// of a subsystem, and sends it to clients.
const (
	maxInformation     = 1 << 20 // bytes, on the wire
	maxListedNames     = 256     // in each list
	maxNameBytes       = 256
	maxDescriptionText = 4 << 10 // bytes
)

// checkInformation returns an error if a plugin says more of itself than the host keeps.
func checkInformation(info *shellpb.InformationResponse) error {
	if n := len(info.GetDescription()); n > maxDescriptionText {
		return fmt.Errorf("its description has %d bytes, at most %d are allowed", n, maxDescriptionText)
	}
	if err := checkNames("name", []string{info.GetName()}); err != nil {
		return err
	}
	for _, list := range []struct {
		of    string
		names []string
	}{
		{"services", info.GetServices()},
		{"preconditions", info.GetPreconditions()},
		{"terminations", info.GetTerminations()},
		{"controls", info.GetControls()},
	} {
		if err := checkNames(list.of, list.names); err != nil {
			return err
		}
	}
	return checkProfile(info)
}

// checkProfile returns an error if others could not use what a plugin says of itself for them.
func checkProfile(info *shellpb.InformationResponse) error {
	profile := shell.ProfileFromProto(info.GetProfile())
	if err := profile.Check(); err != nil {
		return fmt.Errorf("its profile: %w", err)
	}
	for _, t := range profile.Provides {
		if t.Service != "" && !slices.Contains(info.GetServices(), t.Service) {
			return fmt.Errorf("its profile: the type %q: the plugin does not list the service %s", t.Name, t.Service)
		}
	}
	return nil
}

// checkNames returns an error if the list of a plugin's information is too long, or a name in it.
func checkNames(of string, names []string) error {
	if n := len(names); n > maxListedNames {
		return fmt.Errorf("it lists %d %s, at most %d are allowed", n, of, maxListedNames)
	}
	for _, name := range names {
		if len(name) > maxNameBytes {
			return fmt.Errorf("a text in its %s has %d bytes, at most %d are allowed", of, len(name), maxNameBytes)
		}
	}
	return nil
}
