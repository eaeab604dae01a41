package main

import (
	"strings"

	"dormouse/internal/editdistance"
)

// similarOrKnownWordsText returns the end of an error about an unknown word: the known
// words that are similar to it, or the first known words if none is similar, "" if none
// is known.
func similarOrKnownWordsText(word string, known []string) string {
	var near []string
	for _, k := range known {
		if isSimilarWord(strings.ToLower(word), strings.ToLower(k)) {
			near = append(near, k)
		}
	}
	const most = 12
	switch {
	case len(near) > 0:
		return "; did you mean " + strings.Join(near, " or ") + "?"
	case len(known) == 0:
		return ""
	case len(known) > most:
		known = append(known[:most:most], "...")
	}
	return "; there are " + strings.Join(known, ", ")
}

// isSimilarWord reports whether one word contains the other, if that has at least three
// letters, or differs in at most two. Upper and lower case differ.
func isSimilarWord(a, b string) bool {
	short, long := a, b
	if len(short) > len(long) {
		short, long = long, short
	}
	return len(short) >= 3 && strings.Contains(long, short) || editdistance.Of(a, b) <= min(2, len(a)/2)
}
