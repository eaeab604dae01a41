package supervisor

import "dormouse/shell"

// Profile returns what others find the instance of that callsign by, also while it sleeps or
// is down; false if there is no such instance, or its program was never asked.
func (s *Supervisor) Profile(callsign string) (shell.Profile, bool) {
	sh, ok := s.Shell(callsign)
	if !ok {
		return shell.Profile{}, false
	}
	about := sh.BriefStatus().Information
	return about.Profile, about.Class != ""
}
