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

// tableReader reads one table of a file, key by key. Its methods leave the destination *to
// as it was if the key is missing, and report a wrong value, after which Load fails. A key
// that no method has read is unknown; reportUnknownKeys reports such keys.
type tableReader struct {
	file   *configFile
	name   string // place of the table, for errors: "in [host]"
	lines  *keyLines
	values map[string]any
	known  []string // keys that were read
}

// readValue returns the value of a key, and false if the key is missing or its value does
// not have the type T. It reports a value of another type; wantedType names T there.
func readValue[T any](t *tableReader, key, wantedType string) (T, bool) {
	t.known = append(t.known, key)
	value, given := t.values[key]
	got, ok := value.(T)
	if given && !ok {
		t.addProblem(t.lines.keyOrSelf(key), "key %q %s must be %s, not %s", key, t.name, wantedType, tomlTypeName(value))
	}
	return got, ok
}

// readText reads a string that must pass every check.
func (t *tableReader) readText(key string, to *string, checks ...func(string) error) {
	s, ok := readValue[string](t, key, "a string")
	if ok && t.passesOrReportsChecks(t.lines.keyOrSelf(key), key, s, checks...) {
		*to = s
	}
}

// readPath reads a path and makes it absolute. A relative path starts from the directory of
// the file; an empty path stays empty.
func (t *tableReader) readPath(key string, to *string, checks ...func(string) error) {
	t.readText(key, to, checks...)
	if *to != "" && !filepath.IsAbs(*to) {
		*to = filepath.Join(t.file.dir, *to)
	}
}

// readProgramPath reads the path of a program as readPath does, but leaves a name without a
// slash unchanged, because such a name is looked up in PATH.
func (t *tableReader) readProgramPath(key string, to *string, checks ...func(string) error) {
	t.readText(key, to, checks...)
	if strings.Contains(*to, "/") && !filepath.IsAbs(*to) {
		*to = filepath.Join(t.file.dir, *to)
	}
}

// readTextList reads an array of strings, without the strings that fail a check.
func (t *tableReader) readTextList(key string, to *[]string, checks ...func(string) error) {
	list, ok := readValue[[]any](t, key, "an array of strings")
	if !ok {
		return
	}
	var texts []string
	for i, value := range list {
		item := fmt.Sprintf("%s[%d]", key, i)
		s, ok := value.(string)
		if !ok {
			t.addProblem(t.lines.keyOrSelf(key), "%q %s must be a string, not %s", item, t.name, tomlTypeName(value))
		} else if t.passesOrReportsChecks(t.lines.keyOrSelf(key), item, s, checks...) {
			texts = append(texts, s)
		}
	}
	*to = texts
}

// readTextMap reads a table of strings, without the keys that fail checkName.
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
			t.addProblem(at, "key %q %s must be a string, not %s", item, t.name, tomlTypeName(value))
		} else if t.passesOrReportsChecks(at, item, name, checkName) && t.passesOrReportsChecks(at, item, s) {
			texts[name] = s
		}
	}
	if len(texts) > 0 {
		*to = texts
	}
}

// readDuration reads a string such as "1m30s" as a duration of more than zero.
func (t *tableReader) readDuration(key string, to *Duration) {
	t.readParsed(key, `a duration such as "1m30s"`, to)
}

// readParsed reads a string and parses it by UnmarshalText. wantedType names the type in the
// report of a value that is not a string.
func (t *tableReader) readParsed(key, wantedType string, to encoding.TextUnmarshaler) {
	s, ok := readValue[string](t, key, wantedType)
	if !ok {
		return
	}
	if err := to.UnmarshalText([]byte(s)); err != nil {
		t.addProblem(t.lines.keyOrSelf(key), "key %q %s: %w", key, t.name, err)
	}
}

// readOptionalDuration reads a duration into a new Duration, and sets *to to it. A missing
// key leaves *to nil.
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

// readSize reads a string such as "64MiB" as a number of bytes of at least that many.
func (t *tableReader) readSize(key string, to *Bytes, least Bytes) {
	size := *to
	t.readParsed(key, `a size such as "64MiB"`, &size)
	if size < least {
		t.addProblem(t.lines.keyOrSelf(key), "key %q %s: %s is less than %s", key, t.name, size, least)
		return
	}
	*to = size
}

// readBool reads true or false.
func (t *tableReader) readBool(key string, to *bool) {
	if b, ok := readValue[bool](t, key, "a boolean"); ok {
		*to = b
	}
}

// readOptionalBool reads true or false into a new bool, and sets *to to it. A missing key
// leaves *to nil.
func (t *tableReader) readOptionalBool(key string, to **bool) {
	if b, ok := readValue[bool](t, key, "a boolean"); ok {
		*to = &b
	}
}

// readAllowedWord reads a string that must be one of the allowed words.
func readAllowedWord[T ~string](t *tableReader, key string, to *T, allowed ...T) {
	var s string
	t.readText(key, &s, func(s string) error { return checkOneOf(T(s), allowed) })
	if s != "" {
		*to = T(s)
	}
}

// reportMissingKeys reports each of the keys that the table does not have.
func (t *tableReader) reportMissingKeys(requiredKeys ...string) {
	for _, key := range requiredKeys {
		if _, given := t.values[key]; !given {
			t.addProblem(t.lines, "missing key %q %s", key, t.name)
		}
	}
}

// reportUnknownKeys reports each key of the table that no method has read, and reports
// whether all are known. It must be called after all other methods.
func (t *tableReader) reportUnknownKeys() (allKnown bool) {
	allKnown = true
	for key := range t.values {
		if !slices.Contains(t.known, key) {
			allKnown = false
			t.addProblem(t.lines.keyOrSelf(key), "unknown key %q %s%s", key, t.name, didYouMeanText(key, t.known))
		}
	}
	return allKnown
}

// passesOrReportsChecks reports whether s passes all checks, and adds a problem about the
// key at its line if it does not. A string with a NUL byte never passes, because no path,
// argument or environment variable can have one.
func (t *tableReader) passesOrReportsChecks(at *keyLines, key, s string, checks ...func(string) error) (passes bool) {
	var err error
	if strings.ContainsRune(s, 0) {
		err = errors.New("must not hold a NUL byte")
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

// addProblem adds an error at the line of a key or table to the problems of the load.
func (t *tableReader) addProblem(at *keyLines, format string, args ...any) {
	t.file.problems.add(t.file.path, at.line, fmt.Errorf(format, args...))
}

// tomlTypeName returns the name of the TOML type of a value, with its article, for an error.
func tomlTypeName(value any) string {
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
