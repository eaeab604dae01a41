package shell

import "strings"

// Paths are the directories of one instance, which its configuration may name.
type Paths struct {
	Callsign string
	// Persistent is kept across restarts of the host and the machine. Volatile is emptied
	// at each activation. Data holds read-only files and may not exist.
	Persistent, Volatile, Data string
	// System is the host's root directory.
	System string
}

// SubstitutePaths replaces %persistentpath%, %volatilepath%, %datapath%, %systempath% and
// %callsign% in text. Other words between percent signs stay as they are.
func SubstitutePaths(text string, p Paths) string {
	return strings.NewReplacer(
		"%persistentpath%", p.Persistent,
		"%volatilepath%", p.Volatile,
		"%datapath%", p.Data,
		"%systempath%", p.System,
		"%callsign%", p.Callsign,
	).Replace(text)
}
