package main

import (
	"strings"
	"unicode/utf8"
)

// table is rows of cells whose columns are aligned.
type table struct{ rows [][]string }

// addRow adds a row. Rows may differ in their number of cells.
func (t *table) addRow(cells ...string) { t.rows = append(t.rows, cells) }

// addTextRows adds a row for each line of a text, the first of which begins with name. It
// adds none for an empty text.
func (t *table) addTextRows(name, text string) {
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(text, "\n") {
		t.addRow(name, line)
		name = ""
	}
}

// alignedText returns the aligned table, a line for each row. Lines are cut to maxWidth
// characters, unless that is 0.
func (t *table) alignedText(maxWidth int) string {
	var widths []int
	for _, row := range t.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var text strings.Builder
	for _, row := range t.rows {
		var line strings.Builder
		for i, cell := range row {
			line.WriteString(cell)
			if i < len(row)-1 {
				line.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		text.WriteString(cutWithEllipsis(strings.TrimRight(line.String(), " "), maxWidth) + "\n")
	}
	return text.String()
}

// cutWithEllipsis cuts a longer line to maxWidth characters, the last of which is then
// "…". A maxWidth of at most 1 cuts nothing.
func cutWithEllipsis(line string, maxWidth int) string {
	runes := []rune(line)
	if maxWidth <= 1 || len(runes) <= maxWidth {
		return line
	}
	return string(runes[:maxWidth-1]) + "…"
}
