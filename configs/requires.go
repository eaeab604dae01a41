package configs

import (
	"fmt"
	"slices"
	"strings"
)

// RequiresError says which instances require each other in a circle, or which
// one requires an instance that there is not.
type RequiresError struct {
	// Callsign is the instance whose requirement is wrong.
	Callsign string
	// Missing is the callsign that nobody has, empty for a circle.
	Missing string
	// Circle leads from Callsign back to it.
	Circle []string
}

func (e *RequiresError) Error() string {
	if e.Missing != "" {
		return fmt.Sprintf("%s requires %q, which there is not", e.Callsign, e.Missing)
	}
	return "instances require each other in a circle: " + strings.Join(e.Circle, " → ")
}

// CheckRequires returns a *RequiresError for each requirement that can't be met,
// in the order of the plugins, and one for each circle.
func CheckRequires(plugins []Plugin) []*RequiresError {
	requires := make(map[string][]string, len(plugins))
	for _, p := range plugins {
		requires[p.Callsign] = p.Requires
	}
	var errs []*RequiresError
	done := make(map[string]bool)
	var visit func(callsign string, path []string)
	visit = func(callsign string, path []string) {
		if start := slices.Index(path, callsign); start >= 0 {
			errs = append(errs, &RequiresError{Callsign: callsign, Circle: append(slices.Clone(path[start:]), callsign)})
			return
		}
		if done[callsign] {
			return
		}
		for _, next := range requires[callsign] {
			if _, exists := requires[next]; exists {
				visit(next, append(path, callsign))
			} else {
				errs = append(errs, &RequiresError{Callsign: callsign, Missing: next})
			}
		}
		done[callsign] = true
	}
	for _, p := range plugins {
		visit(p.Callsign, nil)
	}
	return errs
}
