package configs

import (
	"encoding"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// tableReader reads one table of a file, key by key. A key that is absent, or wrong and
// thus reported, leaves its destination as it was. The known keys are those that were
// asked for: reportUnknownKeys reports every other one.
type tableReader struct {
	file   *configFile
	name   string // for problems: "in [host]"
	lines  *keyLines
	values map[string]any
	known  []string
}

// readValue returns the value of a key if it has the type T. want is a name of that
// type for the operator.
func readValue[T any](t *tableReader, key, want string) (T, bool) {
	t.known = append(t.known, key)
	value, given := t.values[key]
	got, ok := value.(T)
	if given && !ok {
		t.addProblem(t.lines.keyOrSelf(key), "key %q %s must be %s, not %s", key, t.name, want, typeName(value))
	}
	return got, ok
}

// readText reads a string that passes every check.
func (t *tableReader) readText(key string, to *string, checks ...func(string) error) {
	s, ok := readValue[string](t, key, "a string")
	if ok && t.passesChecks(t.lines.keyOrSelf(key), key, s, checks...) {
		*to = s
	}
}

// readPath reads a path, relative to the directory of the file. An empty path stays
// empty.
func (t *tableReader) readPath(key string, to *string, checks ...func(string) error) {
	t.readText(key, to, checks...)
	if *to != "" && !filepath.IsAbs(*to) {
		*to = filepath.Join(t.file.dir, *to)
	}
}

// readProgramPath reads a path like readPath, but leaves a name without a slash, for a
// search in PATH.
func (t *tableReader) readProgramPath(key string, to *string, checks ...func(string) error) {
	t.readText(key, to, checks...)
	if strings.Contains(*to, "/") && !filepath.IsAbs(*to) {
		*to = filepath.Join(t.file.dir, *to)
	}
}

// readTexts reads an array of strings that each pass every check.
func (t *tableReader) readTexts(key string, to *[]string, checks ...func(string) error) {
	list, ok := readValue[[]any](t, key, "an array of strings")
	if !ok {
		return
	}
	var texts []string
	for i, value := range list {
		item := fmt.Sprintf("%s[%d]", key, i)
		s, ok := value.(string)
		if !ok {
			t.addProblem(t.lines.keyOrSelf(key), "%q %s must be a string, not %s", item, t.name, typeName(value))
		} else if t.passesChecks(t.lines.keyOrSelf(key), item, s, checks...) {
			texts = append(texts, s)
		}
	}
	*to = texts
}

// readTextMap reads a table of strings. Its keys must pass checkName.
func (t *tableReader) readTextMap(key string, to *map[string]string, checkName func(string) error) {
	values, ok := readValue[map[string]any](t, key, "a table of strings")
	if !ok {
		return
	}
	texts := make(map[string]string, len(values))
	for name, value := range values {
		at, item := t.lines.keyOrSelf(key).keyOrSelf(name), key+"."+name
		s, ok := value.(string)
		if !ok {
			t.addProblem(at, "key %q %s must be a string, not %s", item, t.name, typeName(value))
		} else if t.passesChecks(at, item, name, checkName) && t.passesChecks(at, item, s) {
			texts[name] = s
		}
	}
	if len(texts) > 0 {
		*to = texts
	}
}

func (t *tableReader) readDuration(key string, to *Duration) {
	t.readParsed(key, `a duration such as "1m30s"`, to)
}

// readParsed reads a string into a type that parses it. want is a name of that type for
// the operator.
func (t *tableReader) readParsed(key, want string, to encoding.TextUnmarshaler) {
	s, ok := readValue[string](t, key, want)
	if !ok {
		return
	}
	if err := to.UnmarshalText([]byte(s)); err != nil {
		t.addProblem(t.lines.keyOrSelf(key), "key %q %s: %w", key, t.name, err)
	}
}

func (t *tableReader) readOptionalDuration(key string, to **Duration) {
	if _, given := t.values[key]; given {
		*to = new(Duration)
		t.readDuration(key, *to)
	}
}

// readInteger reads an integer from least to most.
func (t *tableReader) readInteger(key string, to *int, least, most int64) {
	n, ok := readValue[int64](t, key, "an integer")
	if !ok {
		return
	}
	if n < least || n > most {
		t.addProblem(t.lines.keyOrSelf(key), "key %q %s: %d is not between %d and %d", key, t.name, n, least, most)
		return
	}
	*to = int(n)
}

func (t *tableReader) readBool(key string, to *bool) {
	if b, ok := readValue[bool](t, key, "a boolean"); ok {
		*to = b
	}
}

func (t *tableReader) readOptionalBool(key string, to **bool) {
	if b, ok := readValue[bool](t, key, "a boolean"); ok {
		*to = &b
	}
}

// readWord reads one of the allowed words.
func readWord[T ~string](t *tableReader, key string, to *T, allowed ...T) {
	var s string
	t.readText(key, &s, func(s string) error { return checkOneOf(T(s), allowed) })
	if s != "" {
		*to = T(s)
	}
}

// reportMissing reports each of the keys that the table does not have.
func (t *tableReader) reportMissing(keys ...string) {
	for _, key := range keys {
		if _, given := t.values[key]; !given {
			t.addProblem(t.lines, "missing key %q %s", key, t.name)
		}
	}
}

// reportUnknownKeys reports each key that the reader was not asked for. It must be
// called last.
func (t *tableReader) reportUnknownKeys() {
	for key := range t.values {
		if !slices.Contains(t.known, key) {
			t.addProblem(t.lines.keyOrSelf(key), "unknown key %q %s%s", key, t.name, didYouMean(key, t.known))
		}
	}
}

var errNUL = errors.New("must not hold a NUL byte")

// passesChecks reports whether s passes all checks, and adds a problem if not. No string
// passes with a NUL byte, which no path, argument or environment variable can have.
func (t *tableReader) passesChecks(at *keyLines, key, s string, checks ...func(string) error) bool {
	var err error
	if strings.ContainsRune(s, 0) {
		err = errNUL
	}
	for _, check := range checks {
		if err == nil {
			err = check(s)
		}
	}
	if err != nil {
		t.addProblem(at, "key %q %s: %w", key, t.name, err)
	}
	return err == nil
}

func (t *tableReader) addProblem(at *keyLines, format string, args ...any) {
	t.file.problems.add(t.file.path, at.line, fmt.Errorf(format, args...))
}

// typeName returns the name of the TOML type of a decoded value.
func typeName(value any) string {
	switch value.(type) {
	case string:
		return "a string"
	case int64:
		return "an integer"
	case float64:
		return "a float"
	case bool:
		return "a boolean"
	case time.Time:
		return "a date or time"
	case []any:
		return "an array"
	case []map[string]any:
		return "an array of tables"
	default:
		return "a table"
	}
}
