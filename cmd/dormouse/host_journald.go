package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/rs/zerolog"
)

// journaldFieldPrefix begins the names of the fields that a line has in systemd's journal
// besides those of systemd.journal-fields(7) and CALLSIGN.
const journaldFieldPrefix = "DORMOUSE_"

// maxJournaldFieldName is how many bytes of a field's name journald accepts.
const maxJournaldFieldName = 64

// journaldWriter writes the lines of the host's log to systemd's journal, each with its
// priority, its callsign and its other fields as fields of the journal. A line that the
// journal does not take goes to standard error as it is.
type journaldWriter struct {
	stderr io.Writer
	unsent atomic.Bool    // the last line could not be sent
	notes  zerolog.Logger // to stderr
}

// newJournaldWriter returns a writer to the journal of this machine.
func newJournaldWriter(stderr io.Writer) *journaldWriter {
	return &journaldWriter{stderr: stderr, notes: zerolog.New(stderr).With().Timestamp().Logger()}
}

// Write sends one line, which is a JSON object. The first line that can't be sent is
// preceded by the reason.
func (w *journaldWriter) Write(line []byte) (int, error) {
	message, priority, fields, err := parseJournaldEntry(line)
	if err == nil {
		err = journal.Send(message, priority, fields)
	}
	if err == nil {
		w.unsent.Store(false)
		return len(line), nil
	}
	if !w.unsent.Swap(true) {
		w.notes.Warn().Err(err).Msg("systemd's journal takes no lines, they go to standard error")
	}
	return w.stderr.Write(line)
}

// parseJournaldEntry returns the entry of the journal for a line of the host's log. The
// message begins with the callsign and ends with the other fields, since journalctl shows
// nothing else by itself.
func parseJournaldEntry(line []byte) (message string, priority journal.Priority, fields map[string]string, err error) {
	var values map[string]any
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil {
		return "", 0, nil, fmt.Errorf("cannot read a line of the log: %w", err)
	}
	level, _ := values[zerolog.LevelFieldName].(string)
	text, _ := values[zerolog.MessageFieldName].(string)
	callsign, _ := values["callsign"].(string)
	fields = map[string]string{"SYSLOG_IDENTIFIER": "dormouse"}
	for _, key := range []string{zerolog.LevelFieldName, zerolog.MessageFieldName, zerolog.TimestampFieldName, "callsign"} {
		delete(values, key) // the journal has its own time
	}
	var b strings.Builder
	if callsign != "" {
		fields["CALLSIGN"] = callsign
		b.WriteString(callsign + ": ")
	}
	b.WriteString(text)
	for _, key := range slices.Sorted(maps.Keys(values)) {
		value := journaldText(values[key])
		fields[journaldFieldName(key)] = value
		b.WriteString(" " + key + "=" + quoteIfNeeded(value))
	}
	return b.String(), journaldPriority(level), fields, nil
}

// journaldPriority returns the priority of a level of the host's log. A line without a
// level has that of info.
func journaldPriority(level string) journal.Priority {
	switch level {
	case "trace", "debug":
		return journal.PriDebug
	case "warn":
		return journal.PriWarning
	case "error":
		return journal.PriErr
	case "fatal", "panic":
		return journal.PriCrit
	}
	return journal.PriInfo
}

// journaldFieldName returns the name of a field in the journal: the key with a prefix, in
// upper case, with an underscore for each byte that a name must not have.
func journaldFieldName(key string) string {
	name := []byte(journaldFieldPrefix + strings.ToUpper(key))
	for i, c := range name {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			name[i] = '_'
		}
	}
	return string(name[:min(len(name), maxJournaldFieldName)])
}

// journaldText returns a text as it is, and any other value as JSON.
func journaldText(value any) string {
	if text, ok := value.(string); ok {
		return text
	}
	text, _ := json.Marshal(value) // it was JSON before
	return string(text)
}

// quoteIfNeeded returns the value of a key in the message, in quotes unless it is one word
// that can be printed.
func quoteIfNeeded(value string) string {
	quoted := strconv.Quote(value)
	if value == "" || len(quoted) != len(value)+2 || strings.ContainsAny(value, " =") {
		return quoted
	}
	return value
}
