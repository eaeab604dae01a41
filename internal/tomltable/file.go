// Package tomltable reads TOML files table by table and key by key, and reports each fault
// with its line. It does not know which keys a file may have, nor what they mean.
package tomltable

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// File is a TOML file while it is read.
type File struct {
	Path   string      // as faults name the file
	Dir    string      // relative paths in the file start from this absolute directory
	Faults *LoadErrors // to which what is wrong is added
}

// Decode returns the top level of the file, which has that text. For a text that is not valid
// TOML it adds a fault and returns false.
func (f *File) Decode(text []byte) (top *Table, ok bool) {
	if line := firstLineWithBadByte(text); line > 0 {
		f.Faults.Add(f.Path, line, errors.New("not UTF-8 text"))
		return nil, false
	}
	if line := firstLineNestedTooDeep(string(text)); line > 0 {
		f.Faults.Add(f.Path, line, fmt.Errorf("tables or lists are nested deeper than %d levels", maxNesting))
		return nil, false
	}
	var values map[string]any
	meta, err := toml.Decode(string(text), &values)
	if err != nil {
		line, err := explainSyntaxError(string(text), err)
		f.Faults.Add(f.Path, line, err)
		return nil, false
	}
	return &Table{file: f, Name: "at the top level", lines: linesOfKeys(string(text), meta.Keys()), values: values}, true
}

// firstLineWithBadByte returns the number of the first line with a control character or a
// byte that is not UTF-8, 0 if there is none. A TOML file must have neither.
func firstLineWithBadByte(text []byte) int {
	isBad := func(r rune) bool { return r < ' ' && r != '\t' && r != '\n' || r == 0x7f }
	number := 0
	for line := range bytes.Lines(text) {
		number++
		if !utf8.Valid(line) || bytes.ContainsFunc(bytes.TrimSuffix(line, []byte("\r\n")), isBad) {
			return number
		}
	}
	return 0
}

// explainSyntaxError returns the line and the cause of an error of the TOML library, line 0
// if the library does not know it. The line in the library's error is wrong by one at a
// newline or the end of the file, so the line is counted from the last byte that the library
// has read.
func explainSyntaxError(text string, err error) (line int, cause error) {
	if parse, ok := errors.AsType[toml.ParseError](err); ok {
		doc := strings.TrimPrefix(text, "\ufeff")
		last := parse.Position.Start + parse.Position.Len - 1
		line = 1 + strings.Count(doc[:min(max(0, last), len(doc))], "\n")
		err = errors.New(withoutControlCharacters(strings.TrimSuffix(parse.Message, ".")))
	}
	return line, fmt.Errorf("not valid TOML: %w", err)
}

// withoutControlCharacters returns the message without its control characters, which may
// come from a file and must not reach the operator's terminal.
func withoutControlCharacters(message string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return -1
		}
		return r
	}, message)
}
