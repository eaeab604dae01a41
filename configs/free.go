package configs

import (
	"math"
	"time"
)

// free takes a table of any content and turns it into what JSON would hold.
func (t *table) free(key string, to *map[string]any) {
	values, ok := get[map[string]any](t, key, "a table")
	if ok && len(values) > 0 {
		*to = t.jsonTable(values, t.place.key(key))
	}
}

func (t *table) jsonTable(values map[string]any, at *place) map[string]any {
	out := make(map[string]any, len(values))
	for key, value := range values {
		out[key] = t.jsonValue(key, value, at.key(key))
	}
	return out
}

// jsonValue takes the key only to name it in a problem.
func (t *table) jsonValue(key string, value any, at *place) any {
	switch value := value.(type) {
	case map[string]any:
		return t.jsonTable(value, at)
	case []map[string]any:
		list := make([]any, len(value))
		for i, element := range value {
			list[i] = t.jsonTable(element, at.element(i))
		}
		return list
	case []any:
		list := make([]any, len(value))
		for i, element := range value {
			list[i] = t.jsonValue(key, element, at)
		}
		return list
	case time.Time:
		return dateText(value)
	case float64:
		if math.IsNaN(value) || math.IsInf(value, 0) {
			t.problem(at, "key %q in the configuration %s: a plugin gets it as JSON, which has no %v", key, t.name, value)
		}
	}
	return value
}

// dateText writes a TOML date or time as RFC 3339 does, leaving out what the file
// left out: the library marks those by the name of their zone.
func dateText(t time.Time) string {
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
