package configs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"dormouse/internal/spelling"
)

// LoadError is one thing wrong and where it stands.
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

// LoadErrors is everything that is wrong with a configuration, so that an operator
// mends it in one go. It is sorted by source and line and prints one on each line.
type LoadErrors []LoadError

func (es LoadErrors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.Is and errors.As look at each of them.
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

// sorted settles the order of every load, though tables are read in no order.
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

// didYouMean ends an error about an unknown word; it is empty rather than far-fetched.
func didYouMean(word string, known []string) string {
	if near := nearest(word, known); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ""
}

// nearest returns the known word that word most likely stands for, or "". Case
// and "_" for "-" count for nothing, and the start of a word counts as close.
func nearest(word string, known []string) string {
	word = strings.ReplaceAll(strings.ToLower(word), "_", "-")
	best, least := "", 1+(len(word)+2)/3
	for _, k := range known {
		d := spelling.Distance(word, k)
		if len(word) >= 3 && strings.HasPrefix(k, word) {
			d = min(d, 1)
		}
		if d < least {
			best, least = k, d
		}
	}
	return best
}
