package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// terminal is where a verb reads and writes, and what a person would see of it.
type terminal struct {
	in       io.Reader
	out, err io.Writer
	// outShown and errShown tell that a person watches out and err.
	outIsTerminal, errIsTerminal bool
	width                        int // columns of out, 0 when it is no terminal

	writeErr error // the first write to out that did not work
}

func openTerminal() *terminal {
	return &terminal{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		outIsTerminal: isTerminal(os.Stdout),
		errIsTerminal: isTerminal(os.Stderr),
		width:         terminalWidth(os.Stdout),
	}
}

func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// columns is how wide the terminal is, 0 when f is none.
func terminalWidth(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// say writes to out. That it failed is told when the verb has ended.
func (t *terminal) printf(format string, args ...any) {
	if _, err := fmt.Fprintf(t.out, format, args...); err != nil && t.writeErr == nil {
		t.writeErr = fmt.Errorf("cannot write the result: %w", err)
	}
}

// complain writes to err.
func (t *terminal) errorf(format string, args ...any) {
	_, _ = fmt.Fprintf(t.err, format, args...) // there is nowhere else to tell
}

// sayJSON writes v for a program that asked for it.
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
