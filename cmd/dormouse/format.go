package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"dormouse/internal/bytesize"
)

// sizeOr writes nothing worth a number as a dash.
func bytesOrDash(bytes int64) string {
	if bytes == 0 {
		return "-"
	}
	return bytesize.Format(bytes)
}

// age writes how long ago something was, in its largest unit.
func formatAge(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", max(0, int(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// seconds writes how long something took.
func formatSeconds(d time.Duration) string {
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// words turns the wire's "InstantiationFailed" into "instantiation failed".
func wordsOfPascal(pascal string) string {
	var b strings.Builder
	for i, r := range pascal {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// oneLine keeps text from breaking a table.
func joinLines(text string) string {
	return strings.Join(strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' }), "; ")
}
