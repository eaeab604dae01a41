package tomltable

import (
	"fmt"
	"strconv"
	"strings"

	"dormouse/internal/editdistance"
)

// CheckOneOf returns an error if the word is not one of the allowed words. The error
// suggests the allowed word that is spelled most like it.
func CheckOneOf[T ~string](word T, allowed []T) error {
	var names, quoted []string
	for _, a := range allowed {
		if word == a {
			return nil
		}
		names = append(names, string(a))
		quoted = append(quoted, strconv.Quote(string(a)))
	}
	last := len(quoted) - 1
	return fmt.Errorf("%q is not %s or %s%s", string(word),
		strings.Join(quoted[:last], ", "), quoted[last], DidYouMeanText(string(word), names))
}

// DidYouMeanText returns the text ": did you mean ...?" with the known word that is
// spelled most like the word, "" if none is similar. The text ends an error about an
// unknown word.
func DidYouMeanText(word string, known []string) string {
	if near := nearestSimilarWord(word, known); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ""
}

// nearestSimilarWord returns the known word that is spelled most like the word, "" if
// none is similar. It ignores case, takes "_" for "-", and accepts the first letters of a
// known word.
func nearestSimilarWord(word string, known []string) string {
	word = strings.ReplaceAll(strings.ToLower(word), "_", "-")
	best, least := "", 1+(len(word)+2)/3
	for _, k := range known {
		d := editdistance.Of(word, k)
		if len(word) >= 3 && strings.HasPrefix(k, word) {
			d = min(d, 1)
		}
		if d < least {
			best, least = k, d
		}
	}
	return best
}
