package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"github.com/rs/zerolog"
)

// harmless returns the text with each character that could command a terminal replaced by a
// JSON escape, such as \u001b: control characters other than newline and tab, and those that
// change the direction of the text. A byte that is not UTF-8 becomes U+FFFD. JSON stays JSON,
// with the same value.
func harmless(text string) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, isHarmful) {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if !isHarmful(r) {
			b.WriteRune(r)
			continue
		}
		for _, unit := range utf16.Encode([]rune{r}) {
			fmt.Fprintf(&b, `\u%04x`, unit)
		}
	}
	return b.String()
}

// isHarmful reports whether a character could command a terminal.
func isHarmful(r rune) bool {
	if r == '\n' || r == '\t' {
		return false
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029'
}

// harmlessValue returns a value that was decoded from JSON with all its strings made harmless.
func harmlessValue(value any) any {
	switch v := value.(type) {
	case string:
		return harmless(v)
	case []any:
		for i := range v {
			v[i] = harmlessValue(v[i])
		}
	case map[string]any:
		makeMembersHarmless(v)
	}
	return value
}

// makeMembersHarmless makes the names and the values of an object's members harmless.
func makeMembersHarmless(object map[string]any) {
	for _, name := range slices.Collect(maps.Keys(object)) {
		value := object[name]
		delete(object, name)
		object[harmless(name)] = harmlessValue(value)
	}
}

// harmlessWriter makes what it writes harmless. Each write is a whole line.
type harmlessWriter struct{ to io.Writer }

// Write writes the line. It reports the length of line, which may differ from what is written.
func (w harmlessWriter) Write(line []byte) (int, error) {
	if _, err := io.WriteString(w.to, harmless(string(line))); err != nil {
		return 0, err
	}
	return len(line), nil
}

// newConsoleWriter returns a writer of a log as text for people, to the standard error. The
// lines of plugins are made harmless before they get colors.
func newConsoleWriter(t *terminal, timeFormat string, noColor bool) zerolog.ConsoleWriter {
	return zerolog.ConsoleWriter{
		Out: t.err, NoColor: noColor || !t.errIsTerminal, TimeFormat: timeFormat,
		FormatPrepare: func(line map[string]any) error {
			makeMembersHarmless(line)
			return nil
		},
	}
}
