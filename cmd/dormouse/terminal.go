package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// terminal is the standard streams of a verb.
type terminal struct {
	in       io.Reader
	out, err io.Writer
	// outIsTerminal and errIsTerminal report whether out and err are shown to a person.
	outIsTerminal, errIsTerminal bool
	width                        int // columns of out, 0 if it is not a terminal

	writeErr error // of the first failed write to out
}

// openTerminal returns the streams of this process.
func openTerminal() *terminal {
	return &terminal{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		outIsTerminal: isTerminal(os.Stdout),
		errIsTerminal: isTerminal(os.Stderr),
		width:         terminalWidth(os.Stdout),
	}
}

// isTerminal reports whether f is a terminal.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// terminalWidth returns the number of columns, 0 if f is not a terminal.
func terminalWidth(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// printf writes to out. The first failure is kept in writeErr, so that the verb fails when
// it has ended.
func (t *terminal) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(t.out, format, args...); err != nil && t.writeErr == nil {
		t.writeErr = fmt.Errorf("cannot write the result: %w", err)
	}
}

// errorf writes to err, and ignores a failure.
func (t *terminal) errorf(format string, args ...any) {
	_, _ = fmt.Fprintf(t.err, format, args...) // a failure could not be shown either
}

// printJSON writes v to out, indented.
func (t *terminal) printJSON(v any) error {
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(v); err != nil {
		return fmt.Errorf("cannot write the result: %w", err)
	}
	t.printf("%s", text.String())
	return nil
}

// printResult writes the JSON of a result to out: indented for a person or with -o json,
// else as the host sent it.
func (t *terminal) printResult(result json.RawMessage, format *outputFormat) error {
	if t.outIsTerminal || format.isJSON() {
		return t.printJSON(result)
	}
	t.printf("%s\n", result)
	return nil
}

// printAnswer writes an answer of the host to out: as JSON with -o json, else as the text
// that the function text makes of the decoded answer. AnswerName says in an error which
// answer it was.
func printAnswer[T any](t *terminal, format *outputFormat, answerName string, answer json.RawMessage, text func(T) string) error {
	if format.isJSON() {
		return t.printJSON(answer)
	}
	var value T
	if err := json.Unmarshal(answer, &value); err != nil {
		return fmt.Errorf("cannot understand the host's %s: %w", answerName, err)
	}
	t.printf("%s", text(value))
	return nil
}
