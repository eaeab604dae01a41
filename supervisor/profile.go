package supervisor

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"dormouse/shell"
)

// Profile returns what others find the instance of that callsign by, also while it sleeps or
// is down; false if there is no such instance, or its program was never asked.
func (s *Supervisor) Profile(callsign string) (shell.Profile, bool) {
	sh, ok := s.Shell(callsign)
	if !ok {
		return shell.Profile{}, false
	}
	return sh.Profile()
}

// Provider is an instance that others may use.
type Provider struct {
	Callsign string
	// Type is the one that was looked for; zero if only tags were.
	Type    shell.Type
	Profile shell.Profile
	// State is that of the instance now.
	State shell.State
	// Delivers reports whether a call that comes now is delivered, at once or when the
	// instance has been started or woken.
	Delivers bool
}

// ErrNotProvided means that an instance does not provide what is looked for.
var ErrNotProvided = errors.New("it is not provided")

// Find returns the instances that provide what u looks for, except for the one of the callsign
// own: those first that deliver calls, then those with the highest version. The error says that
// u is not valid.
func (s *Supervisor) Find(own string, u shell.Use) ([]Provider, error) {
	if err := u.Check(); err != nil {
		return nil, fmt.Errorf("%w: %w", shell.ErrInvalidParams, err)
	}
	var found []Provider
	for _, sh := range s.Shells() {
		profile, known := sh.Profile()
		if !known || sh.Callsign() == own {
			continue
		}
		if provided, matches := u.FindIn(profile); matches {
			found = append(found, Provider{sh.Callsign(), provided, profile, sh.State(), sh.DeliversCalls()})
		}
	}
	slices.SortStableFunc(found, func(a, b Provider) int {
		switch {
		case a.Delivers != b.Delivers && a.Delivers:
			return -1
		case a.Delivers != b.Delivers:
			return 1
		}
		return shell.CompareVersions(b.Type.Version, a.Type.Version)
	})
	return found, nil
}

// Open returns the instance of that callsign, if it provides what u looks for; the zero u looks for
// nothing. The error wraps ErrUnknown, ErrNotProvided or, if u is not valid, shell.ErrInvalidParams.
func (s *Supervisor) Open(callsign string, u shell.Use) (Provider, error) {
	sh, ok := s.Shell(callsign)
	if !ok {
		return Provider{}, s.UnknownError(callsign)
	}
	profile, _ := sh.Profile()
	p := Provider{Callsign: callsign, Profile: profile, State: sh.State(), Delivers: sh.DeliversCalls()}
	if u.Type == "" && u.Range == "" && len(u.Tags) == 0 {
		return p, nil
	}
	if err := u.Check(); err != nil {
		return Provider{}, fmt.Errorf("%w: %w", shell.ErrInvalidParams, err)
	}
	if p.Type, ok = u.FindIn(profile); !ok {
		return Provider{}, fmt.Errorf("%w: %s does not provide %s", ErrNotProvided, callsign, u)
	}
	return p, nil
}

// UnmetUses returns those uses of the instances, of all if none is named, for which they have no
// provider: no instance provides the type, or several do and the configuration does not say which
// of them is meant.
func (s *Supervisor) UnmetUses(callsigns ...string) (unmet []shell.UnmetUse) {
	all := make(map[string]shell.Profile)
	for _, sh := range s.Shells() {
		all[sh.Callsign()], _ = sh.Profile()
	}
	if len(callsigns) == 0 {
		callsigns = slices.Sorted(maps.Keys(all))
	}
	for _, callsign := range callsigns {
		if sh, ok := s.Shell(callsign); ok && len(all[callsign].Uses) > 0 {
			unmet = append(unmet, shell.UnmetUses(callsign, sh.Config().Configuration, all)...)
		}
	}
	return unmet
}
