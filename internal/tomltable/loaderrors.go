package tomltable

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// LoadError is one fault of a file, with its place.
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

// LoadErrors are all faults of one or more files, at least one, so that the operator can
// correct all of them at once. They are sorted by source and line. The text has one line
// for each fault.
type LoadErrors []LoadError

func (es LoadErrors) Error() string {
	return errors.Join(es.Unwrap()...).Error()
}

// Unwrap returns the faults, for errors.Is and errors.As.
func (es LoadErrors) Unwrap() []error {
	errs := make([]error, len(es))
	for i, e := range es {
		errs[i] = e
	}
	return errs
}

// Add appends one fault. line is 0 if no line is meant.
func (es *LoadErrors) Add(source string, line int, err error) {
	*es = append(*es, LoadError{source, line, err})
}

// SortInPlace sorts the errors by source, line and text, and returns the same slice.
func (es LoadErrors) SortInPlace() LoadErrors {
	slices.SortFunc(es, func(a, b LoadError) int {
		return cmp.Or(
			cmp.Compare(a.Source, b.Source),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Err.Error(), b.Err.Error()),
		)
	})
	return es
}
