package tasks

import (
	"fmt"
	"strings"

	"dormouse/internal/store"
)

// What is kept of a long log, in bytes: its first and its last lines. It is cut when logSlack
// more than these are there.
const (
	logHead  = 16 << 10
	logTail  = 48 << 10
	logSlack = 48 << 10
	maxLine  = 8 << 10
)

// logText returns lines as the log has them: each ends with a line feed, is text, and is cut if
// it is too long.
func logText(lines []string) string {
	var b strings.Builder
	for _, line := range lines {
		for part := range strings.SplitSeq(strings.TrimSuffix(line, "\n"), "\n") {
			part = strings.ToValidUTF8(strings.TrimSuffix(part, "\r"), "\uFFFD")
			b.WriteString(strings.ReplaceAll(shortened(part, maxLine), "\x00", "\uFFFD"))
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// appendLog adds text to the log of a task, and cuts a log that has become too long. bytes is how
// long it is with the text.
func appendLog(tx *store.Tx, n, bytes int64, text string) error {
	if _, err := tx.Exec("INSERT INTO task_log (task, text) VALUES (?, ?)", n, text); err != nil {
		return err
	}
	if bytes <= logHead+logTail+logSlack {
		return nil
	}
	return cutLog(tx, n)
}

// cutLog leaves the first and the last lines of a log, in two rows, and counts what is between.
func cutLog(tx *store.Tx, n int64) error {
	var head, left int64
	if err := tx.QueryRow("SELECT log_head, log_left FROM tasks WHERE n = ?", n).Scan(&head, &left); err != nil {
		return err
	}
	text, err := readLogRows(tx, n)
	if err != nil {
		return err
	}
	if head == 0 {
		head = int64(strings.LastIndexByte(text[:min(logHead, len(text))], '\n') + 1)
	}
	head = min(head, int64(len(text))) // rows may be lost of a store that was damaged
	first, rest := text[:head], text[head:]
	cut := max(len(rest)-logTail, 0)
	if cut > 0 {
		cut += strings.IndexByte(rest[cut:], '\n') + 1
	}
	left += int64(strings.Count(rest[:cut], "\n"))
	if _, err := tx.Exec("DELETE FROM task_log WHERE task = ?", n); err != nil {
		return err
	}
	for _, part := range []string{first, rest[cut:]} {
		if _, err := tx.Exec("INSERT INTO task_log (task, text) VALUES (?, ?)", n, part); err != nil {
			return err
		}
	}
	_, err = tx.Exec("UPDATE tasks SET log_head = ?, log_left = ?, log_bytes = ? WHERE n = ?", len(first), left, len(first)+len(rest)-cut, n)
	return err
}

// readLogRows returns what is kept of a log.
func readLogRows(tx *store.Tx, n int64) (string, error) {
	rows, err := tx.Query("SELECT text FROM task_log WHERE task = ? ORDER BY seq", n)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return "", err
		}
		b.WriteString(text)
	}
	return b.String(), rows.Err()
}

// readLog returns the log of a task for readers: with a line that says how many are left out.
func readLog(tx *store.Tx, r record) (string, error) {
	text, err := readLogRows(tx, r.n)
	if err != nil || r.logLeft == 0 || int64(len(text)) < r.logHead {
		return text, err
	}
	return fmt.Sprintf("%s… %d lines are left out …\n%s", text[:r.logHead], r.logLeft, text[r.logHead:]), nil
}

// shortened returns a text of at most that many bytes and a sign that it was longer.
func shortened(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return strings.ToValidUTF8(text[:limit], "") + "…"
}
