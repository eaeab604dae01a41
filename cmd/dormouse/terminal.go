package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"golang.org/x/sys/unix"

	"dormouse/internal/logqueue"
)

// terminal is the standard streams of a verb.
type terminal struct {
	in       io.Reader
	out, err io.Writer
	// outIsTerminal and errIsTerminal report whether out and err are shown to a person.
	outIsTerminal, errIsTerminal bool
	errIsJournal                 bool // err goes to systemd's journal
	width                        int  // columns of out, 0 if it is not a terminal

	queues []*logqueue.Queue // before out and err, see queueOutput

	writeErr   error  // of the first failed write to out
	onWriteErr func() // called at that write, nil for nothing
}

// standardTerminal returns the streams of this process.
func standardTerminal() *terminal {
	errIsJournal, _ := journal.StderrIsJournalStream() // an error means that it is not
	return &terminal{
		in: os.Stdin, out: os.Stdout, err: os.Stderr,
		outIsTerminal: isTerminal(os.Stdout),
		errIsTerminal: isTerminal(os.Stderr),
		errIsJournal:  errIsJournal,
		width:         terminalWidthOrZero(os.Stdout),
	}
}

// outputLimit is how long the end of this process waits for what reads its output.
const outputLimit = time.Second

// queueOutput puts queues before out and err, so that no write waits for what reads them. It
// calls tell with the number of lines that were dropped from err. The caller must call
// closeQueues in the end.
func (t *terminal) queueOutput(tell func(dropped int64)) {
	t.out, t.err = t.newQueue(t.out, func(int64) {}), t.newQueue(t.err, tell)
}

// newQueue returns a queue before the writer, which closeQueues closes.
func (t *terminal) newQueue(to io.Writer, tell func(dropped int64)) *logqueue.Queue {
	q := logqueue.New(to, tell)
	t.queues = append(t.queues, q)
	return q
}

// droppedLines returns how many lines the queues have dropped.
func (t *terminal) droppedLines() (n int64) {
	for _, q := range t.queues {
		n += q.Dropped()
	}
	return n
}

// flush waits up to outputLimit until what is queued is written.
func (t *terminal) flush() {
	deadline := time.Now().Add(outputLimit)
	for _, q := range slices.Backward(t.queues) { // a later queue may write to an earlier one
		q.Flush(time.Until(deadline))
	}
}

// closeQueues ends the queues, and waits up to outputLimit until what is in them is written.
func (t *terminal) closeQueues() {
	deadline := time.Now().Add(outputLimit)
	for _, q := range slices.Backward(t.queues) {
		q.Close(time.Until(deadline))
	}
}

// isTerminal reports whether f is a terminal.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// terminalWidthOrZero returns the number of columns, 0 if f is not a terminal.
func terminalWidthOrZero(f *os.File) int {
	size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
	if err != nil {
		return 0
	}
	return int(size.Col)
}

// printf writes to out, made harmless. The first failure is kept in writeErr, so that the verb fails when
// it has ended.
func (t *terminal) printf(format string, args ...any) {
	if _, err := io.WriteString(t.out, harmless(fmt.Sprintf(format, args...))); err != nil && t.writeErr == nil {
		t.writeErr = fmt.Errorf("cannot write the result: %w", err)
		if t.onWriteErr != nil {
			t.onWriteErr()
		}
	}
}

// printErrf writes to err, made harmless after a clearLine at the beginning, and ignores a
// failure.
func (t *terminal) printErrf(format string, args ...any) {
	text, clears := strings.CutPrefix(fmt.Sprintf(format, args...), clearLine)
	text = harmless(text)
	if clears {
		text = clearLine + text
	}
	_, _ = io.WriteString(t.err, text) // a failure could not be shown either
}

// printError writes the error of a verb to err. Where that is systemd's journal each line
// begins with the priority of an error, see sd-daemon(3).
func (t *terminal) printError(err error) {
	text := fmt.Sprintf("dormouse: %v", err)
	if t.errIsJournal {
		text = "<3>" + strings.ReplaceAll(text, "\n", "\n<3>")
	}
	t.printErrf("%s\n", text)
}

// printIndentedJSON writes v to out, indented.
func (t *terminal) printIndentedJSON(v any) error {
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

// printResultJSON writes the JSON of a result to out: indented for a person or
// with -o json, else as the host sent it. Either way it is made harmless.
func (t *terminal) printResultJSON(result json.RawMessage, format *outputFormat) error {
	if t.outIsTerminal || format.isJSON() {
		return t.printIndentedJSON(result)
	}
	t.printf("%s\n", bytes.ReplaceAll(result, []byte("\r"), nil)) // only between tokens JSON has one as it is
	return nil
}

// printJSONOrText writes an answer of the host to out: as JSON with -o json, else as the
// text that the function text makes of the decoded answer. AnswerName says in an error
// which answer it was.
func printJSONOrText[T any](t *terminal, format *outputFormat, answerName string, answer json.RawMessage, text func(T) string) error {
	if format.isJSON() {
		return t.printIndentedJSON(answer)
	}
	var value T
	if err := json.Unmarshal(answer, &value); err != nil {
		return fmt.Errorf("cannot understand the host's %s: %w", answerName, err)
	}
	t.printf("%s", text(value))
	return nil
}
