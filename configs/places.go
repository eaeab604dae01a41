package configs

import (
	"strings"

	"github.com/BurntSushi/toml"
)

// The TOML library names every key of a file, in order, but says where only for
// errors of its own. So the file is scanned once more, for nothing but the lines
// on which keys begin, and the two lists are laid side by side.

// place is where a key or a table stands, with what stands below it.
type place struct {
	line     int
	keys     map[string]*place
	elements []*place // one for each header, if the table is written [[so]]
}

// placesOf needs a document that the library accepted, and the keys it returned.
func placesOf(doc string, keys []toml.Key) *place {
	top := &place{line: 1}
	for i, m := range scanKeys(doc) {
		if i == len(keys) {
			break
		}
		p := top
		for _, name := range keys[i] {
			p = p.grow(name, m.line)
		}
		if m.element {
			p.elements = append(p.elements, &place{line: m.line})
		}
	}
	return top
}

// grow returns the place of a key below p and settles its line the first time.
func (p *place) grow(name string, line int) *place {
	if n := len(p.elements); n > 0 {
		p = p.elements[n-1]
	}
	below, ok := p.keys[name]
	if !ok {
		if p.keys == nil {
			p.keys = make(map[string]*place)
		}
		below = &place{line: line}
		p.keys[name] = below
	}
	return below
}

// key returns the place of a key below p, or p where no better one is known.
func (p *place) key(name string) *place {
	if below, ok := p.keys[name]; ok {
		return below
	}
	return p
}

// element returns the place of the i-th table of an array, or p if the array is
// not written with headers.
func (p *place) element(i int) *place {
	if i < len(p.elements) {
		return p.elements[i]
	}
	return p
}

// mark is a spot where a key or the header of a table begins.
type mark struct {
	line    int
	element bool // a [[header]]
}

// scanKeys returns the marks of a document in order. Only where a key may begin
// matters: at the start of a line outside all brackets, and after "{" and ","
// inside an inline table. The document must be valid TOML.
func scanKeys(doc string) []mark {
	doc = strings.TrimPrefix(doc, "\ufeff")
	var marks []mark
	var open []byte // the "[" and "{" not yet closed
	line, keyNext := 1, true
	for i := 0; i < len(doc); {
		c, width := doc[i], 1
		begins := false
		switch c {
		case ' ', '\t', '\r':
		case '\n':
			line++
			keyNext = keyNext || len(open) == 0
		case '#':
			if width = strings.IndexByte(doc[i:], '\n'); width < 0 {
				width = len(doc) - i
			}
		case ',':
			keyNext = len(open) > 0 && open[len(open)-1] == '{'
		case '{':
			open = append(open, c)
			keyNext = true
		case ']', '}':
			if len(open) > 0 {
				open = open[:len(open)-1]
			}
			keyNext = false
		case '[':
			open = append(open, c)
			begins, keyNext = keyNext, false
		case '"', '\'':
			width = stringLen(doc[i:])
			begins, keyNext = keyNext, false
		default:
			begins, keyNext = keyNext, false
		}
		if begins {
			marks = append(marks, mark{line, strings.HasPrefix(doc[i:], "[[")})
		}
		if c == '"' || c == '\'' {
			line += strings.Count(doc[i:i+width], "\n")
		}
		i += width
	}
	return marks
}

// stringLen returns the length of the string that s begins with, quotes included.
func stringLen(s string) int {
	quote, end := s[0], s[:1]
	if strings.Count(s[:min(3, len(s))], end) == 3 {
		end = s[:3]
	}
	i := len(end)
	for i < len(s) && !strings.HasPrefix(s[i:], end) {
		if s[i] == '\\' && quote == '"' {
			i++
		}
		i++
	}
	i += len(end)
	// One or two quotes may stand before the three that end a long string.
	for len(end) == 3 && i < len(s) && s[i] == quote {
		i++
	}
	return min(i, len(s))
}
