package process

import (
	"bytes"
	"encoding/json"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/hashicorp/go-hclog"
	"github.com/rs/zerolog"
)

// logLine passes a line of a plugin on with its own level and fields, if it is
// JSON of hclog, slog or zerolog, or else begins with a level in brackets. It
// returns what a person would read of the line, nothing if it is for debugging.
func logLine(log zerolog.Logger, line string, cut bool) string {
	if cut {
		log = log.With().Bool("truncated", true).Logger()
	}
	if fields := parseFields(line); fields != nil {
		if level, message, ok := logFields(log, fields); ok {
			return readable(level, message)
		}
	}
	level := zerolog.InfoLevel
	if rest, ok := strings.CutPrefix(line, "["); ok {
		if word, text, ok := strings.Cut(rest, "]"); ok {
			if named, ok := levels[strings.ToLower(strings.TrimSpace(word))]; ok {
				level, line = named, strings.TrimSpace(text)
			}
		}
	} else if isCrash(line) {
		level = zerolog.ErrorLevel
	}
	if line != "" {
		log.WithLevel(level).Msg(printable(line))
	}
	return readable(level, line)
}

func readable(level zerolog.Level, message string) string {
	if level < zerolog.InfoLevel {
		return ""
	}
	return message
}

// isCrash tells whether the line is what a Go program ends with before it prints
// its stacks.
func isCrash(line string) bool {
	return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")
}

// levels are the host's for the names that plugins give. A plugin's line is
// never more than an error to the host.
var levels = map[string]zerolog.Level{
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

// The names that loggers give to level, message and time.
var (
	levelNames   = []string{"@level", "level", "lvl", "severity"}
	messageNames = []string{"@message", "message", "msg"}
	dropped      = []string{"@timestamp", "timestamp", "time", "ts", "callsign", "stream"}
)

// logFields returns false when the fields are not those of a log line.
func logFields(log zerolog.Logger, fields map[string]any) (level zerolog.Level, message string, ok bool) {
	name, hasLevel := take(fields, levelNames)
	message, hasMessage := take(fields, messageNames)
	if !hasLevel && !hasMessage {
		return level, "", false
	}
	level, ok = levels[strings.ToLower(name)]
	if !ok {
		level = zerolog.InfoLevel
	}
	take(fields, dropped) // the host has its own
	if module, ok := take(fields, []string{"@module"}); ok {
		fields["module"] = module
	}
	for key, value := range fields {
		if clean := printable(key); clean != key {
			delete(fields, key)
			fields[clean] = value
		}
	}
	log.WithLevel(level).Fields(fields).Msg(printable(message))
	return level, message, true
}

// parseFields returns nil when the line is no JSON object.
func parseFields(line string) (fields map[string]any) {
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

// take removes the names from fields and returns the first text among them.
func take(fields map[string]any, names []string) (text string, ok bool) {
	for _, name := range names {
		if value, is := fields[name].(string); is && !ok {
			text, ok = value, true
		}
		delete(fields, name)
	}
	return text, ok
}

// printable keeps a plugin from sending commands to the operator's terminal.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r != '\t' && unicode.IsControl(r) {
			return unicode.ReplacementChar
		}
		return r
	}, strings.ToValidUTF8(s, string(unicode.ReplacementChar)))
}

// lineWriter logs what is written to it, line by line, and adds it to the tail
// if it has one.
type lineWriter struct {
	stream string
	log    zerolog.Logger
	tail   *tail

	mu   sync.Mutex
	rest []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
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
		w.tail.add(w.stream, text)
		logLine(w.log, text, len(line) > maxLine || !ok)
		w.rest = append([]byte(nil), after...)
	}
}

// libraryLog is what go-plugin logs to.
func libraryLog(log zerolog.Logger) hclog.Logger {
	return hclog.New(&hclog.LoggerOptions{
		Name:       "go-plugin",
		Level:      hclog.Warn, // below that it tells each step of each connection
		Output:     &lineWriter{log: log},
		JSONFormat: true,
		TimeFn:     time.Now,
	})
}
