package output

import (
	"encoding/json"
	"regexp"
	"strconv"
	"strings"

	"github.com/rs/zerolog"
)

// record is one line of a plugin as the host logs it.
type record struct {
	level   zerolog.Level // never above error
	message string
	fields  map[string]any // nil if the line has none
}

// recordParsers are the forms of lines that are understood. Each reports whether the line
// has its form.
var recordParsers = []func(line string) (record, bool){parseJSON, parseLevelInBrackets, parseSyslogPrefix, parseKlog, parseLogfmt}

// parseRecord returns the level, message and fields of a line that a common logger wrote.
// Any other line is a message at info, or at error if it begins the report of a Go crash.
func parseRecord(line string) record {
	for _, parse := range recordParsers {
		if r, ok := parse(line); ok {
			return r
		}
	}
	if isGoCrashLine(line) {
		return record{level: zerolog.ErrorLevel, message: line}
	}
	return record{level: zerolog.InfoLevel, message: line}
}

// isGoCrashLine reports whether the line is the one that a Go program prints before its
// stacks when it crashes.
func isGoCrashLine(line string) bool {
	return strings.HasPrefix(line, "panic: ") || strings.HasPrefix(line, "fatal error: ")
}

// namedLevels maps the level names of plugins, in lower case, to levels of the host's log.
var namedLevels = map[string]zerolog.Level{
	"trace":       zerolog.TraceLevel,
	"debug":       zerolog.DebugLevel,
	"info":        zerolog.InfoLevel,
	"information": zerolog.InfoLevel,
	"notice":      zerolog.InfoLevel,
	"warn":        zerolog.WarnLevel,
	"warning":     zerolog.WarnLevel,
	"error":       zerolog.ErrorLevel,
	"err":         zerolog.ErrorLevel,
	"fatal":       zerolog.ErrorLevel,
	"crit":        zerolog.ErrorLevel,
	"critical":    zerolog.ErrorLevel,
	"alert":       zerolog.ErrorLevel,
	"emerg":       zerolog.ErrorLevel,
	"emergency":   zerolog.ErrorLevel,
	"panic":       zerolog.ErrorLevel,
	"dpanic":      zerolog.ErrorLevel,
}

// levelOfText returns the level of a name, or of a number as pino and bunyan write it: 10
// is trace, 60 fatal, and a number between two levels counts as the lower one.
func levelOfText(text string) (level zerolog.Level, ok bool) {
	text = strings.ToLower(strings.TrimSpace(text))
	if level, ok := namedLevels[text]; ok {
		return level, true
	}
	n, err := strconv.Atoi(text)
	switch {
	case err != nil || n < 10:
		return level, false
	case n < 20:
		return zerolog.TraceLevel, true
	case n < 30:
		return zerolog.DebugLevel, true
	case n < 40:
		return zerolog.InfoLevel, true
	case n < 50:
		return zerolog.WarnLevel, true
	}
	return zerolog.ErrorLevel, true
}

// The keys of level and message in the lines of common loggers, and the keys that are
// dropped since the host's log has its own.
var (
	levelKeys   = []string{"@level", "level", "lvl", "severity"}
	messageKeys = []string{"@message", "message", "msg"}
	droppedKeys = []string{"@timestamp", "timestamp", "time", "ts", "callsign", "stream"}
)

// parseJSON reads a line of hclog, slog, zerolog, zap, pino or bunyan: a JSON object with
// a message or with a level in words.
func parseJSON(line string) (record, bool) {
	if !strings.HasPrefix(line, "{") {
		return record{}, false
	}
	var fields map[string]any
	decoder := json.NewDecoder(strings.NewReader(line))
	decoder.UseNumber()
	if decoder.Decode(&fields) != nil || decoder.More() {
		return record{}, false
	}
	named := hasNamedLevel(fields)
	r, _, hasMessage := recordFromFields(fields)
	return r, named || hasMessage
}

// hasNamedLevel reports whether a level among the fields is a text.
func hasNamedLevel(fields map[string]any) bool {
	for _, key := range levelKeys {
		if _, is := fields[key].(string); is {
			return true
		}
	}
	return false
}

// recordFromFields makes a record of the fields, which it changes, and reports whether it
// has found a level that it knows, and a message. Without such a level the record is at
// info.
func recordFromFields(fields map[string]any) (r record, hasLevel, hasMessage bool) {
	r = record{level: zerolog.InfoLevel, fields: fields}
	for _, key := range levelKeys {
		text, isText := fields[key].(string)
		if number, is := fields[key].(json.Number); is {
			text, isText = number.String(), true
		}
		if level, known := levelOfText(text); isText && known && !hasLevel {
			r.level, hasLevel = level, true
		}
		delete(fields, key)
	}
	r.message, hasMessage = removeKeysReturnFirst(fields, messageKeys)
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
	return r, hasLevel, hasMessage
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

// parseLevelInBrackets reads a line such as "[WARN] text".
func parseLevelInBrackets(line string) (record, bool) {
	rest, ok := strings.CutPrefix(line, "[")
	if !ok {
		return record{}, false
	}
	name, text, _ := strings.Cut(rest, "]")
	level, ok := namedLevels[strings.ToLower(strings.TrimSpace(name))]
	if len(name) == len(rest) || !ok {
		return record{}, false
	}
	return record{level: level, message: strings.TrimSpace(text)}, true
}

// syslogPrefix is the priority before a line, see sd-daemon(3). It may contain a facility.
var syslogPrefix = regexp.MustCompile(`^<([0-9]{1,3})>`)

// parseSyslogPrefix reads a line such as "<3>text".
func parseSyslogPrefix(line string) (record, bool) {
	found := syslogPrefix.FindStringSubmatch(line)
	if found == nil {
		return record{}, false
	}
	priority, err := strconv.Atoi(found[1])
	if err != nil || priority > 191 { // the highest severity of the highest facility
		return record{}, false
	}
	r := record{message: strings.TrimLeft(line[len(found[0]):], " ")}
	switch severity := priority & 7; {
	case severity <= 3:
		r.level = zerolog.ErrorLevel
	case severity == 4:
		r.level = zerolog.WarnLevel
	case severity <= 6:
		r.level = zerolog.InfoLevel
	default:
		r.level = zerolog.DebugLevel
	}
	return r, true
}

// klogHeader is the beginning of a line of klog and glog: level and date, time, thread,
// file and line. Newer glogs write the year before the month.
var klogHeader = regexp.MustCompile(`^([DIWEF])(?:\d{4}|\d{8}) \d\d:\d\d:\d\d\.\d{1,9} +\d+ ([^\s\]]+:\d+)\] ?`)

// parseKlog reads a line such as "E0102 15:04:05.000000   1 file.go:1] text".
func parseKlog(line string) (record, bool) {
	found := klogHeader.FindStringSubmatch(line)
	if found == nil {
		return record{}, false
	}
	level := map[string]zerolog.Level{
		"D": zerolog.DebugLevel, "I": zerolog.InfoLevel, "W": zerolog.WarnLevel, "E": zerolog.ErrorLevel, "F": zerolog.ErrorLevel,
	}[found[1]]
	return record{level, line[len(found[0]):], map[string]any{"caller": replaceUnprintable(found[2])}}, true
}

// parseLogfmt reads a line such as `time=… level=error msg="text" key=value`: pairs, one of
// which has a level. If text follows the pairs, the whole line is the message.
func parseLogfmt(line string) (record, bool) {
	fields := make(map[string]any)
	rest := line
	for rest != "" {
		key, value, after, ok := cutLogfmtPair(rest)
		if !ok {
			break
		}
		fields[key], rest = value, strings.TrimLeft(after, " ")
	}
	r, hasLevel, _ := recordFromFields(fields)
	if rest != "" {
		r.message, r.fields = line, nil
	}
	return r, hasLevel
}

// logfmtKey is a key of a pair and the sign after it.
var logfmtKey = regexp.MustCompile(`^[A-Za-z_@][A-Za-z0-9_.@/-]*=`)

// cutLogfmtPair cuts the pair from the beginning of text, and reports whether there is
// one. The value is a quoted text, or ends before the next space.
func cutLogfmtPair(text string) (key, value, after string, ok bool) {
	key = logfmtKey.FindString(text)
	if key == "" {
		return "", "", "", false
	}
	text = text[len(key):]
	key = strings.TrimSuffix(key, "=")
	if strings.HasPrefix(text, `"`) {
		quoted, err := strconv.QuotedPrefix(text)
		if err != nil {
			return "", "", "", false
		}
		value, err = strconv.Unquote(quoted)
		after = text[len(quoted):]
		return key, value, after, err == nil && (after == "" || after[0] == ' ')
	}
	value, after, _ = strings.Cut(text, " ")
	return key, value, after, !strings.Contains(value, `"`)
}
