package tomltable

import (
	"encoding"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Table is one table of a file, which is read key by key. Its methods leave the destination
// *to as it was if the key is missing, and add a wrong value to the file's faults. A key that
// no method has read is unknown; ReportUnknownKeys reports such keys.
type Table struct {
	Name string // the place of the table, for faults: "in [host]"

	file   *File
	lines  *keyLines
	values map[string]any
	known  []string // keys that were read
}

// NewTable returns a table of values that were read before, all of them on one line of the
// file.
func NewTable(f *File, name string, line int, values map[string]any) *Table {
	return &Table{Name: name, file: f, lines: &keyLines{line: line}, values: values}
}

// Table reads the value of a key as a table of that name. It returns an empty one if the key
// is missing or its value is no table, which it reports; wantedType names a table there.
func (t *Table) Table(key, name, wantedType string) *Table {
	values, _ := ReadValue[map[string]any](t, key, wantedType)
	return &Table{Name: name, file: t.file, lines: t.lines.keyOrSelf(key), values: values}
}

// Tables reads the value of a key as a list of tables, each of that name. It reports another
// value; wantedType names the list there.
func (t *Table) Tables(key, name, wantedType string) (tables []*Table) {
	list, _ := ReadValue[[]map[string]any](t, key, wantedType)
	for i, values := range list {
		tables = append(tables, &Table{Name: name, file: t.file, lines: t.lines.keyOrSelf(key).elementOrSelf(i), values: values})
	}
	return tables
}

// File returns the file that the table is in.
func (t *Table) File() *File { return t.file }

// Values returns the values as the TOML library has read them. The caller must not change
// them.
func (t *Table) Values() map[string]any { return t.values }

// KeysAndLines yields the path of each key of the table, and of the tables below it, with its
// line.
func (t *Table) KeysAndLines() iter.Seq2[[]string, int] {
	return func(yield func([]string, int) bool) { yieldKeys(nil, t.values, t.lines, yield) }
}

// yieldKeys yields the keys of values and of tables below them until yield returns false, which
// it then returns.
func yieldKeys(above []string, values map[string]any, at *keyLines, yield func([]string, int) bool) bool {
	for key, value := range values {
		path := append(slices.Clone(above), key)
		if !yield(path, at.keyOrSelf(key).line) {
			return false
		}
		if inner, isTable := value.(map[string]any); isTable && !yieldKeys(path, inner, at.keyOrSelf(key), yield) {
			return false
		}
	}
	return true
}

// Has reports whether the table has the key.
func (t *Table) Has(key string) bool {
	_, given := t.values[key]
	return given
}

// Line returns the line of a key, of the table if it does not have the key.
func (t *Table) Line(key string) int { return t.lines.keyOrSelf(key).line }

// ReadValue returns the value of a key, and false if the key is missing or its value does
// not have the type T. It reports a value of another type; wantedType names T there.
func ReadValue[T any](t *Table, key, wantedType string) (T, bool) {
	t.known = append(t.known, key)
	value, given := t.values[key]
	got, ok := value.(T)
	if given && !ok {
		t.addProblemAt(t.lines.keyOrSelf(key), "key %q %s must be %s, not %s", key, t.Name, wantedType, tomlTypeName(value))
	}
	return got, ok
}

// ReadText reads a string that must pass every check.
func (t *Table) ReadText(key string, to *string, checks ...func(string) error) {
	s, ok := ReadValue[string](t, key, "a string")
	if ok && t.passesOrReportsChecks(t.lines.keyOrSelf(key), key, s, checks...) {
		*to = s
	}
}

// ReadPath reads a path and makes it absolute. A relative path starts from the directory of
// the file; an empty path stays empty.
func (t *Table) ReadPath(key string, to *string, checks ...func(string) error) {
	t.ReadText(key, to, checks...)
	if *to != "" && !filepath.IsAbs(*to) {
		*to = filepath.Join(t.file.Dir, *to)
	}
}

// ReadProgramPath reads the path of a program as ReadPath does, but leaves a name without a
// slash unchanged, because such a name is looked up in PATH.
func (t *Table) ReadProgramPath(key string, to *string, checks ...func(string) error) {
	t.ReadText(key, to, checks...)
	if strings.Contains(*to, "/") && !filepath.IsAbs(*to) {
		*to = filepath.Join(t.file.Dir, *to)
	}
}

// ReadTextList reads an array of strings, without the strings that fail a check.
func (t *Table) ReadTextList(key string, to *[]string, checks ...func(string) error) {
	list, ok := ReadValue[[]any](t, key, "an array of strings")
	if !ok {
		return
	}
	var texts []string
	for i, value := range list {
		item := fmt.Sprintf("%s[%d]", key, i)
		s, ok := value.(string)
		if !ok {
			t.addProblemAt(t.lines.keyOrSelf(key), "%q %s must be a string, not %s", item, t.Name, tomlTypeName(value))
		} else if t.passesOrReportsChecks(t.lines.keyOrSelf(key), item, s, checks...) {
			texts = append(texts, s)
		}
	}
	*to = texts
}

// ReadTextMap reads a table of strings, without the keys that fail checkName.
func (t *Table) ReadTextMap(key string, to *map[string]string, checkName func(string) error) {
	values, ok := ReadValue[map[string]any](t, key, "a table of strings")
	if !ok {
		return
	}
	texts := make(map[string]string, len(values))
	for name, value := range values {
		at, item := t.lines.keyOrSelf(key).keyOrSelf(name), key+"."+name
		s, ok := value.(string)
		if !ok {
			t.addProblemAt(at, "key %q %s must be a string, not %s", item, t.Name, tomlTypeName(value))
		} else if t.passesOrReportsChecks(at, item, name, checkName) && t.passesOrReportsChecks(at, item, s) {
			texts[name] = s
		}
	}
	if len(texts) > 0 {
		*to = texts
	}
}

// ReadParsed reads a string and parses it by UnmarshalText. wantedType names the type in the
// report of a value that is not a string.
func (t *Table) ReadParsed(key, wantedType string, to encoding.TextUnmarshaler) {
	s, ok := ReadValue[string](t, key, wantedType)
	if !ok {
		return
	}
	if err := to.UnmarshalText([]byte(s)); err != nil {
		t.addProblemAt(t.lines.keyOrSelf(key), "key %q %s: %w", key, t.Name, err)
	}
}

// ReadInteger reads an integer from least to most.
func (t *Table) ReadInteger(key string, to *int, least, most int64) {
	n, ok := ReadValue[int64](t, key, "an integer")
	if !ok {
		return
	}
	if n < least || n > most {
		t.addProblemAt(t.lines.keyOrSelf(key), "key %q %s: %d is not between %d and %d", key, t.Name, n, least, most)
		return
	}
	*to = int(n)
}

// ReadBool reads true or false.
func (t *Table) ReadBool(key string, to *bool) {
	if b, ok := ReadValue[bool](t, key, "a boolean"); ok {
		*to = b
	}
}

// ReadOptionalBool reads true or false into a new bool, and sets *to to it. A missing key
// leaves *to nil.
func (t *Table) ReadOptionalBool(key string, to **bool) {
	if b, ok := ReadValue[bool](t, key, "a boolean"); ok {
		*to = &b
	}
}

// ReadAllowedWord reads a string that must be one of the allowed words.
func ReadAllowedWord[T ~string](t *Table, key string, to *T, allowed ...T) {
	var s string
	t.ReadText(key, &s, func(s string) error { return CheckOneOf(T(s), allowed) })
	if s != "" {
		*to = T(s)
	}
}

// ReportMissingKeys reports each of the keys that the table does not have.
func (t *Table) ReportMissingKeys(requiredKeys ...string) {
	for _, key := range requiredKeys {
		if _, given := t.values[key]; !given {
			t.addProblemAt(t.lines, "missing key %q %s", key, t.Name)
		}
	}
}

// ReportUnknownKeys reports each key of the table that no method has read, and reports
// whether all are known. It must be called after all other methods.
func (t *Table) ReportUnknownKeys() (allKnown bool) {
	allKnown = true
	for key := range t.values {
		if !slices.Contains(t.known, key) {
			allKnown = false
			t.addProblemAt(t.lines.keyOrSelf(key), "unknown key %q %s%s", key, t.Name, DidYouMeanText(key, t.known))
		}
	}
	return allKnown
}

// passesOrReportsChecks reports whether s passes all checks, and adds a problem about the
// key at its line if it does not. A string with a NUL byte never passes, because no path,
// argument or environment variable can have one.
func (t *Table) passesOrReportsChecks(at *keyLines, key, s string, checks ...func(string) error) (passes bool) {
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
		t.addProblemAt(at, "key %q %s: %w", key, t.Name, err)
	}
	return err == nil
}

// AddProblem adds a fault at the line of a key to those of the file, at the line of the table
// if it does not have the key.
func (t *Table) AddProblem(key, format string, args ...any) {
	t.addProblemAt(t.lines.keyOrSelf(key), format, args...)
}

// addProblemAt adds a fault at the line of a key or table to those of the file.
func (t *Table) addProblemAt(at *keyLines, format string, args ...any) {
	t.file.Faults.Add(t.file.Path, at.line, fmt.Errorf(format, args...))
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
