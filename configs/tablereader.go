package configs

import (
	"dormouse/internal/tomltable"
)

// tableReader is a table of a configuration file, with the types of values that only
// configurations have.
type tableReader struct {
	*tomltable.Table
	file *configFile
}

// table reads the value of a key as a table, see tomltable.Table.
func (t *tableReader) table(key, name, wantedType string) *tableReader {
	return &tableReader{t.Table.Table(key, name, wantedType), t.file}
}

// tables reads the value of a key as a list of tables, each written [[key]]. It returns nil if
// the key is missing or its value is another, which it reports.
func (t *tableReader) tables(key string) (all []*tableReader) {
	for _, table := range t.Tables(key, "in [["+key+"]]", "a list of tables, each written [["+key+"]]") {
		all = append(all, &tableReader{table, t.file})
	}
	return all
}

// readDuration reads a string such as "1m30s" as a duration of more than zero.
func (t *tableReader) readDuration(key string, to *Duration) {
	t.ReadParsed(key, `a duration such as "1m30s"`, to)
}

// readOptionalDuration reads a duration into a new Duration, and sets *to to it. A missing
// key leaves *to nil.
func (t *tableReader) readOptionalDuration(key string, to **Duration) {
	if t.Has(key) {
		*to = new(Duration)
		t.readDuration(key, *to)
	}
}

// readSize reads a string such as "64MiB" as a number of bytes of at least that many.
func (t *tableReader) readSize(key string, to *Bytes, least Bytes) {
	size := *to
	t.ReadParsed(key, `a size such as "64MiB"`, &size)
	if size < least {
		t.AddProblem(key, "key %q %s: %s is less than %s", key, t.Name, size, least)
		return
	}
	*to = size
}

// readAllowedWord reads a string that must be one of the allowed words.
func readAllowedWord[T ~string](t *tableReader, key string, to *T, allowed ...T) {
	tomltable.ReadAllowedWord(t.Table, key, to, allowed...)
}
