package supervisor

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"dormouse/configs"
)

// FilesSource is the source of what the configuration files define. Every other source is a
// package, and has its name.
const FilesSource = ""

// sourceText returns a source as errors and logs name it.
func sourceText(source string) string {
	if source == FilesSource {
		return "the configuration"
	}
	return "the package " + source
}

// ClashError reports that two sources name one callsign, in upper or lower case. It wraps
// ErrExists.
type ClashError struct {
	Callsign string // as the second source has it
	// Sources are the two: the one that has the callsign, or is the files, and the other.
	Sources [2]string
}

func (e *ClashError) Error() string {
	return fmt.Sprintf("%s and %s both name %s; give the instance of one of them another callsign", sourceText(e.Sources[0]), sourceText(e.Sources[1]), e.Callsign)
}

// Unwrap returns ErrExists.
func (e *ClashError) Unwrap() error { return ErrExists }

// CheckClashes returns a *ClashError for each callsign that two of the sources name, joined and
// in the order of the sources' names, nil for none. Files that were left out count as named by
// the files.
func CheckClashes(bySource map[string][]configs.Plugin, leftOut configs.LeftOutFiles) error {
	var errs []error
	seen := make(map[string]providedPlugin)
	for _, source := range slices.Sorted(maps.Keys(bySource)) { // the files come first
		for _, p := range bySource[source] {
			if err := clashError(seen, leftOut, source, p.Callsign); err != nil {
				errs = append(errs, err)
				continue
			}
			seen[p.Callsign] = providedPlugin{p, source}
		}
	}
	return errors.Join(errs...)
}

// clashError returns a *ClashError if another source than this one provides the callsign, or a
// left out file names it; otherwise nil.
func clashError(provided map[string]providedPlugin, leftOut configs.LeftOutFiles, source, callsign string) error {
	for _, p := range provided {
		if p.source != source && strings.EqualFold(p.Callsign, callsign) {
			return &ClashError{callsign, [2]string{p.source, source}}
		}
	}
	if file, found := leftOut.Find(callsign); source != FilesSource && found && file.Names(callsign) {
		return &ClashError{callsign, [2]string{FilesSource, source}}
	}
	return nil
}

// findEqualFold returns the value of a callsign in upper or lower case.
func findEqualFold[V any](byCallsign map[string]V, callsign string) (v V, found bool) {
	for other, v := range byCallsign {
		if strings.EqualFold(other, callsign) {
			return v, true
		}
	}
	return v, false
}

// SourceOf returns the source that provides the instance of that callsign; of a clone, the
// source of the instance that it follows. It returns false for a part of the host, for a clone
// whose source is gone, and for an unknown callsign. It waits for no change.
func (s *Supervisor) SourceOf(callsign string) (source string, found bool) {
	source, found = (*s.definitions.sources.Load())[callsign]
	return source, found
}

// sourcesByCallsign returns the source of each instance that has one, see SourceOf.
func (d *definitions) sourcesByCallsign() *map[string]string {
	all := make(map[string]string, len(d.provided)+len(d.clones))
	for callsign, p := range d.provided {
		all[callsign] = p.source
	}
	for callsign := range d.clones {
		if source, found := d.sourceOfClone(callsign); found {
			all[callsign] = source
		}
	}
	return &all
}

// sourceOfClone returns the source of the instance that a clone follows, directly or through
// other clones; false if that instance is gone.
func (d *definitions) sourceOfClone(callsign string) (source string, found bool) {
	for range d.clones { // no more steps than that, in case clones follow each other in a circle
		c := d.clones[callsign]
		if _, there := d.sourceConfig(c); !there {
			return "", false
		}
		if p, ok := d.provided[c.Of]; ok {
			return p.source, true
		}
		callsign = c.Of
	}
	return "", false
}
