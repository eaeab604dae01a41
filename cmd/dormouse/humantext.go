package main

import (
	"fmt"
	"strings"
	"time"
	"unicode"

	"dormouse/internal/bytesize"
	"dormouse/shell"
)

// bytesOrDash formats a number of bytes, and 0 as a dash.
func bytesOrDash(bytes int64) string {
	if bytes == 0 {
		return "-"
	}
	return bytesize.Format(bytes)
}

// countOf formats a number of things that have that name: "1 key", "2 keys".
func countOf(n int, name string) string {
	if n != 1 {
		name += "s"
	}
	return fmt.Sprintf("%d %s", n, name)
}

// formatAge formats a time that has passed in its largest unit, without fractions: "3d".
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

// formatSeconds formats a duration in seconds: "0.52 s".
func formatSeconds(d time.Duration) string {
	return fmt.Sprintf("%.2f s", d.Seconds())
}

// wordsOfPascalCase turns "InstantiationFailed", as on the wire, into "instantiation
// failed".
func wordsOfPascalCase(pascal string) string {
	var b strings.Builder
	for i, r := range pascal {
		if unicode.IsUpper(r) && i > 0 {
			b.WriteByte(' ')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}

// joinLinesBySemicolon puts a text of several lines into one, with "; " between them, or a
// space after a colon, so that the text fits into a table.
func joinLinesBySemicolon(text string) string {
	var b strings.Builder
	for line := range strings.FieldsFuncSeq(text, func(r rune) bool { return r == '\n' || r == '\r' }) {
		switch {
		case strings.HasSuffix(b.String(), ":"):
			b.WriteString(" ")
		case b.Len() > 0:
			b.WriteString("; ")
		}
		b.WriteString(strings.TrimSpace(line))
	}
	return b.String()
}

// maxCellWidth is how many characters of an error fit into a cell of a table.
const maxCellWidth = 400

// errorCell returns an error of any number of lines as one line for a table, cut if it is
// long, as with the last words of a plugin.
func errorCell(text string) string {
	return cutWithEllipsis(joinLinesBySemicolon(text), maxCellWidth)
}

// progressInMiB returns a progress in bytes as a text: "12 of 40 MiB".
func progressInMiB(p shell.Progress) string {
	return fmt.Sprintf("%d of %d MiB", p.Done>>20, p.Total>>20)
}
