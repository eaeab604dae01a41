package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// LoadError is one fault of a configuration, with its place.
type LoadError struct {
	Source string // a file, "--flag" or "DORMOUSE_VARIABLE"
	Line   int    // from 1; 0 where there are no lines, or the whole file is meant
	Err    error
}

func (e LoadError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("%s: %v", e.Source, e.Err)
	}
	return fmt.Sprintf("%s:%d: %v", e.Source, e.Line, e.Err)
}

func (e LoadError) Unwrap() error { return e.Err }

// LoadErrors are all faults of a configuration, so that an operator can mend them in
// one go. They are sorted by source and line, and print as one line each.
type LoadErrors []LoadError

func (es LoadErrors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.Is and errors.As look at each of the errors.
func (es LoadErrors) Unwrap() []error {
	errs := make([]error, len(es))
	for i, e := range es {
		errs[i] = e
	}
	return errs
}

func (es *LoadErrors) add(source string, line int, err error) {
	*es = append(*es, LoadError{source, line, err})
}

// sorted sorts the errors in place and returns them.
func (es LoadErrors) sorted() LoadErrors {
	slices.SortFunc(es, func(a, b LoadError) int {
		return cmp.Or(
			cmp.Compare(a.Source, b.Source),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Err.Error(), b.Err.Error()),
		)
	})
	return es
}
