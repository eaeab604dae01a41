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

// table reads one table of a file, key by key. A key that is absent, or wrong and
// thus reported, leaves its destination as it was. The keys asked for are the
// keys there are: unknown reports every other one.
type table struct {
	file   *file
	name   string // as an operator knows it: "in [host]"
	place  *place
	values map[string]any
	asked  []string
}

// get takes a key of one TOML type; want is what to call that type.
func get[T any](t *table, key, want string) (T, bool) {
	t.asked = append(t.asked, key)
	value, given := t.values[key]
	got, ok := value.(T)
	if given && !ok {
		t.problem(t.place.key(key), "key %q %s must be %s, not %s", key, t.name, want, kind(value))
	}
	return got, ok
}

// text takes a string that passes every check.
func (t *table) text(key string, to *string, checks ...func(string) error) {
	s, ok := get[string](t, key, "a string")
	if ok && t.check(t.place.key(key), key, s, checks...) {
		*to = s
	}
}

// path takes a path, which is relative to the directory of the file. An empty
// one stays empty.
func (t *table) path(key string, to *string, checks ...func(string) error) {
	t.text(key, to, checks...)
	if *to != "" && !filepath.IsAbs(*to) {
		*to = filepath.Join(t.file.dir, *to)
	}
}

// program takes a path too, but a name without a slash is left for PATH.
func (t *table) program(key string, to *string, checks ...func(string) error) {
	t.text(key, to, checks...)
	if strings.Contains(*to, "/") && !filepath.IsAbs(*to) {
		*to = filepath.Join(t.file.dir, *to)
	}
}

func (t *table) texts(key string, to *[]string, checks ...func(string) error) {
	list, ok := get[[]any](t, key, "an array of strings")
	if !ok {
		return
	}
	var texts []string
	for i, value := range list {
		item := fmt.Sprintf("%s[%d]", key, i)
		s, ok := value.(string)
		if !ok {
			t.problem(t.place.key(key), "%q %s must be a string, not %s", item, t.name, kind(value))
		} else if t.check(t.place.key(key), item, s, checks...) {
			texts = append(texts, s)
		}
	}
	*to = texts
}

// textMap takes a table of strings whose names pass checkName.
func (t *table) textMap(key string, to *map[string]string, checkName func(string) error) {
	values, ok := get[map[string]any](t, key, "a table of strings")
	if !ok {
		return
	}
	texts := make(map[string]string, len(values))
	for name, value := range values {
		at, item := t.place.key(key).key(name), key+"."+name
		s, ok := value.(string)
		if !ok {
			t.problem(at, "key %q %s must be a string, not %s", item, t.name, kind(value))
		} else if t.check(at, item, name, checkName) && t.check(at, item, s) {
			texts[name] = s
		}
	}
	if len(texts) > 0 {
		*to = texts
	}
}

func (t *table) duration(key string, to *Duration) {
	t.parsed(key, `a duration such as "1m30s"`, to)
}

// parsed takes a string that reads itself; want is what to call it.
func (t *table) parsed(key, want string, to encoding.TextUnmarshaler) {
	s, ok := get[string](t, key, want)
	if !ok {
		return
	}
	if err := to.UnmarshalText([]byte(s)); err != nil {
		t.problem(t.place.key(key), "key %q %s: %w", key, t.name, err)
	}
}

func (t *table) integer(key string, to *int, least, most int64) {
	n, ok := get[int64](t, key, "an integer")
	if !ok {
		return
	}
	if n < least || n > most {
		t.problem(t.place.key(key), "key %q %s: %d is not between %d and %d", key, t.name, n, least, most)
		return
	}
	*to = int(n)
}

func (t *table) boolean(key string, to *bool) {
	if b, ok := get[bool](t, key, "a boolean"); ok {
		*to = b
	}
}

func (t *table) optionalBool(key string, to **bool) {
	if b, ok := get[bool](t, key, "a boolean"); ok {
		*to = &b
	}
}

// word takes one of a few words.
func word[T ~string](t *table, key string, to *T, allowed ...T) {
	var s string
	t.text(key, &s, func(s string) error { return oneOf(T(s), allowed) })
	if s != "" {
		*to = T(s)
	}
}

// require reports a key that is not there at all.
func (t *table) require(keys ...string) {
	for _, key := range keys {
		if _, given := t.values[key]; !given {
			t.problem(t.place, "missing key %q %s", key, t.name)
		}
	}
}

// unknown must come after every key was asked for.
func (t *table) unknown() {
	for key := range t.values {
		if !slices.Contains(t.asked, key) {
			t.problem(t.place.key(key), "unknown key %q %s%s", key, t.name, didYouMean(key, t.asked))
		}
	}
}

var errNUL = errors.New("must not hold a NUL byte")

// check reports the first check that s fails. No string passes with a NUL byte,
// which neither a path nor an argument nor the environment can carry.
func (t *table) check(at *place, key, s string, checks ...func(string) error) bool {
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
		t.problem(at, "key %q %s: %w", key, t.name, err)
	}
	return err == nil
}

func (t *table) problem(at *place, format string, args ...any) {
	t.file.problems.add(t.file.path, at.line, fmt.Errorf(format, args...))
}

// kind names the TOML type of a decoded value.
func kind(value any) string {
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
