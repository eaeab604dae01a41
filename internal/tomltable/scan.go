package tomltable

import (
	"iter"
	"strings"
)

// tokenPosition is the place of a token. Tokens are the bytes of a TOML document outside of
// comments and strings; a string is one token, its first quote.
type tokenPosition struct {
	at   int // offset in the document
	line int
}

// scanTokens yields the first byte and the position of each token of a document. The
// document need not be valid TOML.
func scanTokens(doc string) iter.Seq2[byte, tokenPosition] {
	return func(yield func(byte, tokenPosition) bool) {
		line := 1
		for i := 0; i < len(doc); {
			c, width := doc[i], 1
			switch c {
			case '"', '\'':
				width = tomlStringLength(doc[i:])
			case '#':
				if width = strings.IndexByte(doc[i:], '\n'); width < 0 {
					return
				}
			}
			if c != '#' && !yield(c, tokenPosition{i, line}) {
				return
			}
			line += strings.Count(doc[i:i+width], "\n")
			i += width
		}
	}
}

// tomlStringLength returns the length of the TOML string that text begins with, quotes
// included. A string without closing quotes ends at the end of its line, or at the end of
// text if it began with three quotes.
func tomlStringLength(text string) int {
	quote := text[:1]
	if long := strings.Repeat(quote, 3); strings.HasPrefix(text, long) {
		quote = long
	}
	for i := len(quote); i < len(text); i++ {
		switch {
		case text[i] == '\\' && text[0] == '"':
			i++
		case text[i] == '\n' && len(quote) == 1:
			return i
		case strings.HasPrefix(text[i:], quote):
			end := i + len(quote)
			// A string in three quotes may itself end in one or two quotes.
			for len(quote) == 3 && end < min(len(text), i+5) && text[end] == text[0] {
				end++
			}
			return end
		}
	}
	return len(text)
}

// maxNesting is how deep tables and lists may be nested. The limit protects the TOML
// library, whose time grows faster than the depth.
const maxNesting = 64

// firstLineNestedTooDeep returns the number of the first line on which tables and lists
// are nested deeper than maxNesting, 0 if there is none. The document need not be valid
// TOML.
func firstLineNestedTooDeep(doc string) int {
	dots, all := 0, 0
	var outside []int // the dots before each open bracket
	for c, position := range scanTokens(doc) {
		switch c {
		case '\n', ',':
			dots = 0
		case '.':
			dots++
		case '[', '{':
			outside, all, dots = append(outside, dots), all+dots, 0
		case ']', '}':
			if last := len(outside) - 1; last >= 0 {
				all -= outside[last]
				outside, dots = outside[:last], 0
			}
		}
		if len(outside)+all+dots > maxNesting {
			return position.line
		}
	}
	return 0
}

// keyStart is where a key or the header of a table begins.
type keyStart struct {
	line    int
	element bool // it is a [[header]]
}

// findKeyStarts returns where the keys of a document begin, in order. A key begins at the
// start of a line outside of all brackets, or after "{" or "," in an inline table. The
// document must be valid TOML.
func findKeyStarts(doc string) []keyStart {
	doc = strings.TrimPrefix(doc, "\ufeff")
	var starts []keyStart
	var open []byte // the "[" and "{" that are not closed
	keyNext := true
	for c, position := range scanTokens(doc) {
		switch c {
		case ' ', '\t', '\r':
			continue
		case '\n':
			keyNext = keyNext || len(open) == 0
			continue
		case ',':
			keyNext = len(open) > 0 && open[len(open)-1] == '{'
			continue
		case '{':
			open = append(open, c)
			keyNext = true
			continue
		case ']', '}':
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
			keyNext = false
			continue
		}
		if keyNext {
			starts = append(starts, keyStart{position.line, strings.HasPrefix(doc[position.at:], "[[")})
		}
		if c == '[' {
			open = append(open, c)
		}
		keyNext = false
	}
	return starts
}
