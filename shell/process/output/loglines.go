package output

import (
	"bytes"
	"io"
	"strings"
	"sync"
	"unicode"

	"github.com/rs/zerolog"
)

// logLine logs one line of a plugin, with the level, message and fields that parseRecord
// finds in it, unless the limiter has no room. It returns the message, "" if the level is
// below info. truncated adds a field that says so.
func logLine(log zerolog.Logger, limiter *Limiter, line string, truncated bool) (infoMessage string) {
	if !limiter.hasRoomOrDrop() {
		return line
	}
	r := parseRecord(line)
	if r.message == "" && r.fields == nil {
		return ""
	}
	if r.level >= log.GetLevel() {
		limiter.charge(len(line))
	}
	event := log.WithLevel(r.level)
	if truncated {
		event.Bool("truncated", true)
	}
	event.Fields(r.fields).Msg(replaceUnprintable(r.message))
	if r.level < zerolog.InfoLevel {
		return ""
	}
	return r.message
}

// replaceUnprintable replaces control characters other than tabs, with which a plugin
// could command the operator's terminal, and invalid UTF-8.
func replaceUnprintable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}

// lineLogger splits the written text into lines and logs each line.
type lineLogger struct {
	stream string
	log    zerolog.Logger
	tail   *Tail
	words  *lastWords
	limit  *Limiter

	mu   sync.Mutex
	rest []byte // the beginning of an unfinished line
}

// NewLineLogger returns a writer that logs each line written to it.
func NewLineLogger(log zerolog.Logger) io.Writer {
	return &lineLogger{log: log}
}

// NewLineLogger returns a writer for text that reached the host by another way than the
// tree's named stream. Each line of it counts as one of the stream.
func (s *Streams) NewLineLogger(stream string) io.Writer {
	of := s.stdout
	if stream == s.stderr.name {
		of = s.stderr
	}
	return &lineLogger{stream: stream, log: of.log, tail: of.tail, words: s.words, limit: of.limit}
}

// Write logs each complete line of p, and keeps the beginning of an unfinished one for the
// next Write. A line longer than maxLine is cut.
func (w *lineLogger) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	for {
		line, after, ok := bytes.Cut(w.rest, []byte("\n"))
		if !ok && len(w.rest) <= maxLine {
			return len(p), nil
		}
		if !ok {
			line, after = w.rest[:maxLine], nil
		}
		text := string(line[:min(len(line), maxLine)])
		w.tail.addLine(w.stream, text)
		w.words.addLine(logLine(w.log, w.limit, text, len(line) > maxLine || !ok))
		w.rest = append([]byte(nil), after...)
	}
}
