package configs

import (
	"fmt"
	"slices"
	"strings"
)

// RequiresError reports a required instance that is not configured, or instances that
// require each other in a circle.
type RequiresError struct {
	// Callsign is the instance whose requirement is wrong.
	Callsign string
	// Missing is the required callsign that no instance has, "" for a circle.
	Missing string
	// Circle are the callsigns along the circle; the first and the last are Callsign.
	Circle []string
}

func (e *RequiresError) Error() string {
	if e.Missing != "" {
		return fmt.Sprintf("%s requires %q, but no instance has that callsign", e.Callsign, e.Missing)
	}
	return "instances require each other in a circle: " + strings.Join(e.Circle, " → ")
}

// AwaitedError reports a required instance that the files do not name, and that a package may
// bring: until there is one, what requires it waits.
type AwaitedError struct{ *RequiresError }

func (e *AwaitedError) Error() string {
	return fmt.Sprintf("%s requires %q, which no file names: it waits until a package has an instance of that callsign", e.Callsign, e.Missing)
}

// Unwrap returns the RequiresError.
func (e *AwaitedError) Unwrap() error { return e.RequiresError }

// CheckRequires returns an error for each required callsign that no plugin has, and one
// for each circle of requirements, in the order of the plugins; nil if all is well.
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
