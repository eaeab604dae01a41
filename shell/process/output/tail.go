package output

import (
	"strings"
	"sync"
	"time"
)

// A tail keeps at most tailLines lines, and of each at most maxTailLine bytes.
const (
	tailLines   = 200
	maxTailLine = 1 << 10
)

// Tail keeps the last lines of an instance for its post-mortem. A nil Tail keeps
// nothing.
type Tail struct {
	mu    sync.Mutex
	lines []tailLine // a ring once it is full
	next  int        // index of the oldest line of a full ring
}

// tailLine is one line of a tail, with the time at which the host read it.
type tailLine struct {
	at           time.Time
	stream, text string
}

// addLine adds the time and one line of the named stream, and drops the oldest line if the
// tail is full. It ignores empty lines.
func (t *Tail) addLine(stream, text string) {
	if t == nil || text == "" {
		return
	}
	if len(text) > maxTailLine {
		text = strings.Clone(text[:maxTailLine]) // a copy: a slice would keep the whole text in memory
	}
	line := tailLine{time.Now(), stream, text}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) < tailLines {
		t.lines = append(t.lines, line)
		return
	}
	t.lines[t.next] = line
	t.next = (t.next + 1) % tailLines
}

// Lines returns the lines, oldest first, each with its time and stream.
func (t *Tail) Lines() []string { return t.LinesSince(time.Time{}) }

// LinesSince returns the lines that were read at that time or later, as Lines does.
func (t *Tail) LinesSince(since time.Time) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := make([]string, 0, len(t.lines))
	for i := range t.lines {
		l := t.lines[(t.next+i)%len(t.lines)]
		if l.at.Before(since) {
			continue
		}
		lines = append(lines, l.at.UTC().Format("2006-01-02T15:04:05.000Z ")+l.stream+" "+replaceUnprintable(l.text))
	}
	return lines
}
