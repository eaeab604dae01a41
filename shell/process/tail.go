package process

import (
	"strings"
	"sync"
	"time"
)

// How many of an instance's last lines are kept to tell of its end, and how much
// of each.
const (
	tailLength = 200
	maxTail    = 1 << 10
)

// tail is the last lines of an instance. A nil one keeps nothing.
type tail struct {
	mu    sync.Mutex
	lines []tailLine // a ring once it is full
	next  int
}

type tailLine struct {
	at           time.Time
	stream, text string
}

func (t *tail) add(stream, text string) {
	if t == nil || text == "" {
		return
	}
	if len(text) > maxTail {
		text = strings.Clone(text[:maxTail]) // or all of it would be held
	}
	line := tailLine{time.Now(), stream, text}
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) < tailLength {
		t.lines = append(t.lines, line)
		return
	}
	t.lines[t.next] = line
	t.next = (t.next + 1) % tailLength
}

// read returns the lines as a person reads them, oldest first.
func (t *tail) read() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := make([]string, 0, len(t.lines))
	for i := range t.lines {
		l := t.lines[(t.next+i)%len(t.lines)]
		lines = append(lines, l.at.UTC().Format("2006-01-02T15:04:05.000Z ")+l.stream+" "+printable(l.text))
	}
	return lines
}
