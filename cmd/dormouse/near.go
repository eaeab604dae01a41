package main

import (
	"strings"
)

// orSo ends an error about an unknown word with those that may have been meant,
// or with all when none is near.
func orSo(word string, known []string) string {
	var near []string
	for _, k := range known {
		if resembles(strings.ToLower(word), strings.ToLower(k)) {
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

func resembles(a, b string) bool {
	short, long := a, b
	if len(short) > len(long) {
		short, long = long, short
	}
	return len(short) >= 3 && strings.Contains(long, short) || edits(a, b) <= min(2, len(a)/2)
}

// edits counts the letters to add, drop or change that make b of a.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		before := row[0]
		row[0]++
		for j := range len(b) {
			change := before
			if a[i] != b[j] {
				change++
			}
			before = row[j+1]
			row[j+1] = min(change, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
