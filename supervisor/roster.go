package supervisor

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sync"

	"dormouse/shell"
)

// roster is the set of instances that exist.
type roster struct {
	mu     sync.Mutex
	shells map[string]*shell.Shell // by callsign

	builtins []*shell.Shell // the host's own, in the order in which they start
}

// addOrReplace adds an instance, and replaces one with the same callsign.
func (r *roster) addOrReplace(s *shell.Shell) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.shells[s.Callsign()] = s
}

// addHostBuiltin adds a built-in of the host itself, which starts after those added
// before.
func (r *roster) addHostBuiltin(s *shell.Shell) {
	r.addOrReplace(s)
	r.builtins = append(r.builtins, s)
}

// remove takes the instance of that callsign off the roster, and does not end it.
func (r *roster) remove(callsign string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.shells, callsign)
}

// takenError returns an error that wraps ErrExists if an instance has that callsign, in upper or
// lower case.
func (r *roster) takenError(callsign string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if sh, found := findEqualFold(r.shells, callsign); found {
		return fmt.Errorf("%w: %q", ErrExists, sh.Callsign())
	}
	return nil
}

// isRequired reports whether another instance requires the one of that callsign.
func (r *roster) isRequired(callsign string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, sh := range r.shells {
		if slices.Contains(sh.Requires(), callsign) {
			return true
		}
	}
	return false
}

// find returns the instance of that callsign, false if none exists.
func (r *roster) find(callsign string) (*shell.Shell, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, ok := r.shells[callsign]
	return s, ok
}

// allSorted returns every instance, sorted by callsign.
func (r *roster) allSorted() []*shell.Shell {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.SortedFunc(maps.Values(r.shells), func(a, b *shell.Shell) int { return cmp.Compare(a.Callsign(), b.Callsign()) })
}

// allExceptHostBuiltins returns every instance except the host's own built-ins.
func (r *roster) allExceptHostBuiltins() []*shell.Shell {
	return slices.DeleteFunc(r.allSorted(), func(s *shell.Shell) bool { return slices.Contains(r.builtins, s) })
}
