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
// JSON of hclog, slog or zerolog, or else begins with a level in brackets.
func logLine(log zerolog.Logger, line string, cut bool) {
	if cut {
		log = log.With().Bool("truncated", true).Logger()
	}
	if strings.HasPrefix(line, "{") && logJSON(log, line) {
		return
	}
	level := zerolog.InfoLevel
	if rest, ok := strings.CutPrefix(line, "["); ok {
		if word, text, ok := strings.Cut(rest, "]"); ok {
			if named, err := zerolog.ParseLevel(strings.ToLower(word)); err == nil && word != "" {
				level, line = named, strings.TrimSpace(text)
			}
		}
	} else if strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ") {
		level = zerolog.ErrorLevel
	}
	if line != "" {
		log.WithLevel(hostLevel(level)).Msg(printable(line))
	}
}

// The names that loggers give to level, message and time.
var (
	levelNames   = []string{"@level", "level", "lvl", "severity"}
	messageNames = []string{"@message", "message", "msg"}
	dropped      = []string{"@timestamp", "timestamp", "time", "ts", "callsign", "stream"}
)

// logJSON returns false when the line is no JSON log line.
func logJSON(log zerolog.Logger, line string) bool {
	fields := parseFields(line)
	level, hasLevel := take(fields, levelNames)
	message, hasMessage := take(fields, messageNames)
	if !hasLevel && !hasMessage {
		return false
	}
	parsed, err := zerolog.ParseLevel(strings.ToLower(level))
	if err != nil || parsed == zerolog.NoLevel {
		parsed = zerolog.InfoLevel
	}
	take(fields, dropped) // the host has its own
	if module, ok := take(fields, []string{"@module"}); ok {
		fields["module"] = module
	}
	log.WithLevel(hostLevel(parsed)).Fields(fields).Msg(printable(message))
	return true
}

// parseFields returns nil when the line is no JSON object.
func parseFields(line string) (fields map[string]any) {
	decoder := json.NewDecoder(strings.NewReader(line))
	decoder.UseNumber()
	if decoder.Decode(&fields) != nil || decoder.More() {
		return nil
	}
	return fields
}

// messageOf is what a person would read of the line.
func messageOf(line string) string {
	if message, ok := take(parseFields(line), messageNames); ok {
		return message
	}
	return line
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

// hostLevel keeps a plugin's line from ending the host, as logging at fatal
// would.
func hostLevel(level zerolog.Level) zerolog.Level {
	return min(level, zerolog.ErrorLevel)
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

// lineWriter logs what is written to it, line by line.
type lineWriter struct {
	log zerolog.Logger

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
		logLine(w.log, string(line[:min(len(line), maxLine)]), len(line) > maxLine || !ok)
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
