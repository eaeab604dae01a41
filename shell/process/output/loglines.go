package output

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"sync"
	"unicode"

	"github.com/rs/zerolog"
)

// logLine logs one line of a plugin, with the level and fields of the line if it is JSON of
// hclog, slog or zerolog or begins with a level in brackets. It returns the message of the
// line, "" if the level is below info. truncated adds a field that says so.
func logLine(log zerolog.Logger, line string, truncated bool) (infoMessage string) {
	if truncated {
		log = log.With().Bool("truncated", true).Logger()
	}
	if fields := parseJSONObject(line); fields != nil {
		if level, message, ok := logFields(log, fields); ok {
			return messageUnlessDebug(level, message)
		}
	}
	level := zerolog.InfoLevel
	if rest, ok := strings.CutPrefix(line, "["); ok {
		if word, text, ok := strings.Cut(rest, "]"); ok {
			if named, ok := hostLevels[strings.ToLower(strings.TrimSpace(word))]; ok {
				level, line = named, strings.TrimSpace(text)
			}
		}
	} else if isGoCrashLine(line) {
		level = zerolog.ErrorLevel
	}
	if line != "" {
		log.WithLevel(level).Msg(replaceUnprintable(line))
	}
	return messageUnlessDebug(level, line)
}

// messageUnlessDebug returns the message, or "" if the level is below info.
func messageUnlessDebug(level zerolog.Level, message string) string {
	if level < zerolog.InfoLevel {
		return ""
	}
	return message
}

// isGoCrashLine reports whether the line is the one that a Go program prints before its
// stacks when it crashes.
func isGoCrashLine(line string) bool {
	return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")
}

// hostLevels maps the level names of plugins to levels of the host's log. A line of
// a plugin is never logged above error.
var hostLevels = map[string]zerolog.Level{
	"trace":    zerolog.TraceLevel,
	"debug":    zerolog.DebugLevel,
	"info":     zerolog.InfoLevel,
	"warn":     zerolog.WarnLevel,
	"warning":  zerolog.WarnLevel,
	"error":    zerolog.ErrorLevel,
	"err":      zerolog.ErrorLevel,
	"fatal":    zerolog.ErrorLevel,
	"critical": zerolog.ErrorLevel,
	"panic":    zerolog.ErrorLevel,
}

// The keys of level and message in the lines of common loggers, and the keys that are
// dropped since the host's log has its own.
var (
	levelKeys   = []string{"@level", "level", "lvl", "severity"}
	messageKeys = []string{"@message", "message", "msg"}
	droppedKeys = []string{"@timestamp", "timestamp", "time", "ts", "callsign", "stream"}
)

// logFields logs the fields of a JSON line and returns its level and message. It returns
// false, and logs nothing, when the line has neither. It changes fields.
func logFields(log zerolog.Logger, fields map[string]any) (level zerolog.Level, message string, ok bool) {
	name, hasLevel := removeKeysReturnFirst(fields, levelKeys)
	message, hasMessage := removeKeysReturnFirst(fields, messageKeys)
	if !hasLevel && !hasMessage {
		return level, "", false
	}
	level, ok = hostLevels[strings.ToLower(name)]
	if !ok {
		level = zerolog.InfoLevel
	}
	removeKeysReturnFirst(fields, droppedKeys)
	if module, ok := removeKeysReturnFirst(fields, []string{"@module"}); ok {
		fields["module"] = module
	}
	for key, value := range fields {
		if clean := replaceUnprintable(key); clean != key {
			delete(fields, key)
			fields[clean] = value
		}
	}
	log.WithLevel(level).Fields(fields).Msg(replaceUnprintable(message))
	return level, message, true
}

// parseJSONObject returns the fields of a line that is a JSON object, else nil.
func parseJSONObject(line string) (fields map[string]any) {
	if !strings.HasPrefix(line, "{") {
		return nil
	}
	decoder := json.NewDecoder(strings.NewReader(line))
	decoder.UseNumber()
	if decoder.Decode(&fields) != nil || decoder.More() {
		return nil
	}
	return fields
}

// removeKeysReturnFirst removes the keys from fields and returns the first of their
// values that is a string.
func removeKeysReturnFirst(fields map[string]any, keys []string) (text string, ok bool) {
	for _, key := range keys {
		if value, is := fields[key].(string); is && !ok {
			text, ok = value, true
		}
		delete(fields, key)
	}
	return text, ok
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

	mu   sync.Mutex
	rest []byte // the beginning of an unfinished line
}

// NewLineLogger returns a writer that logs each line written to it as one of the
// named stream, and adds it to tail unless that is nil.
func NewLineLogger(stream string, log zerolog.Logger, tail *Tail) io.Writer {
	if stream != "" {
		log = log.With().Str("stream", stream).Logger()
	}
	return &lineLogger{stream: stream, log: log, tail: tail}
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
		logLine(w.log, text, len(line) > maxLine || !ok)
		w.rest = append([]byte(nil), after...)
	}
}
