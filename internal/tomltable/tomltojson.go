package tomltable

import (
	"math"
	"time"
)

// ReadJSONTable reads a table of any content, and converts it to values that JSON has. A
// value that JSON does not have is reported.
func (t *Table) ReadJSONTable(key string, to *map[string]any) {
	values, ok := ReadValue[map[string]any](t, key, "a table")
	if ok && len(values) > 0 {
		*to = t.toJSONTable(values, t.lines.keyOrSelf(key))
	}
}

// toJSONTable converts a TOML table to values that JSON has, and reports those that JSON
// does not have. at is the line of the table.
func (t *Table) toJSONTable(values map[string]any, at *keyLines) map[string]any {
	out := make(map[string]any, len(values))
	for key, value := range values {
		out[key] = t.toJSONValue(key, value, at.keyOrSelf(key))
	}
	return out
}

// toJSONValue converts a TOML value to one that JSON has. It reports infinity and NaN, which
// JSON does not have, by the name key at the line at.
func (t *Table) toJSONValue(key string, value any, at *keyLines) any {
	switch value := value.(type) {
	case map[string]any:
		return t.toJSONTable(value, at)
	case []map[string]any:
		list := make([]any, len(value))
		for i, element := range value {
			list[i] = t.toJSONTable(element, at.elementOrSelf(i))
		}
		return list
	case []any:
		list := make([]any, len(value))
		for i, element := range value {
			list[i] = t.toJSONValue(key, element, at)
		}
		return list
	case time.Time:
		return formatTOMLDate(value)
	case float64:
		if math.IsNaN(value) || math.IsInf(value, 0) {
			t.addProblemAt(at, "key %q in the configuration %s: a plugin gets it as JSON, which has no %v", key, t.Name, value)
		}
	}
	return value
}

// formatTOMLDate returns a TOML date or time as RFC 3339 writes it, without date, time or
// zone if the file has none. The TOML library tells the four kinds apart by names of zones.
func formatTOMLDate(t time.Time) string {
	switch t.Location().String() {
	case "datetime-local":
		return t.Format("2006-01-02T15:04:05.999999999")
	case "date-local":
		return t.Format(time.DateOnly)
	case "time-local":
		return t.Format("15:04:05.999999999")
	}
	return t.Format(time.RFC3339Nano)
}
