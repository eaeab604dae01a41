package shell

import "strings"

// Paths are the places of one instance.
type Paths struct {
	Callsign string
	// Persistent is kept across restarts of host and machine, Volatile is emptied
	// at each activation, Data holds read-only files and may not exist.
	Persistent, Volatile, Data string
	// System is the host's root directory.
	System string
}

// Substitute puts the instance's paths and callsign in the place of
// %persistentpath%, %volatilepath%, %datapath%, %systempath% and %callsign%. All
// else stays as it is, other words between percent signs too.
func Substitute(text string, p Paths) string {
	if !strings.Contains(text, "%") {
		return text
	}
	return strings.NewReplacer(
		"%persistentpath%", p.Persistent,
		"%volatilepath%", p.Volatile,
		"%datapath%", p.Data,
		"%systempath%", p.System,
		"%callsign%", p.Callsign,
	).Replace(text)
}
