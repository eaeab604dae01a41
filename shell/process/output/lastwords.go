package output

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// The last words of a tree are at most maxWords lines and maxWordsBytes bytes, and of each
// line at most maxWordBytes bytes.
const (
	maxWords      = 50
	maxWordsBytes = 4 << 10
	maxWordBytes  = 512
)

// maxCrashReportTime is how long a Go program that crashes may take to print its stacks. A
// program that still writes after that has survived its panic.
const maxCrashReportTime = 5 * time.Second

// lastWords are the last lines that a tree wrote, for the error of its end. The first line
// of a Go crash stays: of the stacks that follow it, the first lines say most. A nil
// lastWords keeps nothing.
type lastWords struct {
	mu    sync.Mutex
	lines []lastWord // the oldest first
	bytes int        // of all lines
}

// lastWord is one line, with the time at which the host read it.
type lastWord struct {
	at   time.Time
	text string
}

// addLine adds a line, and drops lines that are too many. It ignores an empty line.
func (w *lastWords) addLine(text string) {
	if w == nil || text == "" {
		return
	}
	text = strings.Clone(text[:min(len(text), maxWordBytes)]) // a slice would keep the whole line in memory
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lines = append(w.lines, lastWord{time.Now(), text})
	w.bytes += len(text)
	for len(w.lines) > maxWords || w.bytes > maxWordsBytes {
		w.dropLine()
	}
}

// dropLine drops the oldest line, or the newest if the oldest begins a crash report that
// is still being written.
func (w *lastWords) dropLine() {
	oldest, newest := w.lines[0], w.lines[len(w.lines)-1]
	i := 0
	if isGoCrashLine(oldest.text) && newest.at.Sub(oldest.at) < maxCrashReportTime {
		i = len(w.lines) - 1
	}
	w.bytes -= len(w.lines[i].text)
	w.lines = slices.Delete(w.lines, i, i+1)
}

// quoteError returns an error that quotes the lines, nil if there are none: one line in
// quotes, several each on a line of its own.
func (w *lastWords) quoteError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch len(w.lines) {
	case 0:
		return nil
	case 1:
		return fmt.Errorf("its last words: %q", w.lines[0].text)
	}
	var text strings.Builder
	text.WriteString("its last words:")
	for _, line := range w.lines {
		text.WriteString("\n  " + replaceUnprintable(line.text))
	}
	return errors.New(text.String())
}
