package configs

import "strings"

// deepest is how many tables and lists may lie within each other from one line of
// a file on: nobody needs more, and it costs the library time that grows faster
// than the depth.
const deepest = 64

// tooDeep returns the first line on which a file nests deeper than that, or 0. It
// reads only brackets, the dots of keys, and strings and comments to pass over
// them; whether the file is TOML the library says.
func tooDeep(text string) int {
	line, dots, all := 1, 0, 0
	var outside []int // the dots before each bracket that is open
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '#':
			end := strings.IndexByte(text[i:], '\n')
			if end < 0 {
				return 0
			}
			i += end - 1
		case '"', '\'':
			length := stringLength(text[i:])
			line += strings.Count(text[i:i+length], "\n")
			i += length - 1
		case '\n':
			line++
			dots = 0
		case ',':
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
		if len(outside)+all+dots > deepest {
			return line
		}
	}
	return 0
}

// stringLength is that of the string that text begins with, up to the end of text
// if it has no other.
func stringLength(text string) int {
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
			return i + len(quote)
		}
	}
	return len(text)
}
