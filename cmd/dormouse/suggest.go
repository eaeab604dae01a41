package main

import (
	"strings"

	"dormouse/internal/spelling"
)

// orSo ends an error about an unknown word with those that may have been meant,
// or with all when none is near.
func suggestion(word string, known []string) string {
	var near []string
	for _, k := range known {
		if isSimilar(strings.ToLower(word), strings.ToLower(k)) {
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

func isSimilar(a, b string) bool {
	short, long := a, b
	if len(short) > len(long) {
		short, long = long, short
	}
	return len(short) >= 3 && strings.Contains(long, short) || spelling.Distance(a, b) <= min(2, len(a)/2)
}
