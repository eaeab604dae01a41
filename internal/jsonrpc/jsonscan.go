package jsonrpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// The functions in this file expect JSON that json.Valid has accepted.

// Fields returns the members of params by name. It returns an error if params are not a JSON
// object, or if two members have the same name.
func Fields(params json.RawMessage) (map[string]json.RawMessage, error) {
	if !json.Valid(params) {
		return nil, errors.New("params are not JSON")
	}
	start := skipSpace(params, 0)
	if params[start] != '{' {
		return nil, errors.New("params are not an object")
	}
	fields := make(map[string]json.RawMessage)
	for name, value := range unquotedNamesAndValues(params[start:]) {
		if _, twice := fields[string(name)]; twice {
			return nil, fmt.Errorf("params have more than one %.80q", name)
		}
		fields[string(name)] = value
	}
	return fields, nil
}

// unquotedNamesAndValues yields the names of the members of an object, without quotes and
// escapes, and their values as JSON.
func unquotedNamesAndValues(object []byte) iter.Seq2[[]byte, json.RawMessage] {
	return func(yield func([]byte, json.RawMessage) bool) {
		i := skipSpace(object, 1)
		for object[i] != '}' {
			end := skipValue(object, i)
			name := unquote(object[i:end])
			i = skipSpace(object, end)
			i = skipSpace(object, i+1) // the colon
			end = skipValue(object, i)
			if !yield(name, object[i:end:end]) {
				return
			}
			if i = skipSpace(object, end); object[i] == ',' {
				i = skipSpace(object, i+1)
			}
		}
	}
}

// arrayElements yields the elements of an array as JSON.
func arrayElements(array []byte) iter.Seq[json.RawMessage] {
	return func(yield func(json.RawMessage) bool) {
		i := skipSpace(array, 1)
		for array[i] != ']' {
			end := skipValue(array, i)
			if !yield(array[i:end:end]) {
				return
			}
			if i = skipSpace(array, end); array[i] == ',' {
				i = skipSpace(array, i+1)
			}
		}
	}
}

// skipValue returns the offset behind the value that begins at i.
func skipValue(validJSON []byte, i int) (after int) {
	switch validJSON[i] {
	case '"':
		return skipString(validJSON, i)
	case '{', '[':
		end, _ := skipContainer(validJSON, i)
		return end
	}
	for ; i < len(validJSON); i++ {
		switch validJSON[i] {
		case ',', '}', ']', ' ', '\t', '\r', '\n':
			return i
		}
	}
	return i
}

// skipContainer returns the offset behind the array or object that begins at i, and how
// deep arrays and objects are nested there.
func skipContainer(validJSON []byte, i int) (after, depth int) {
	for open := 0; ; i++ {
		switch validJSON[i] {
		case '"':
			i = skipString(validJSON, i) - 1
		case '{', '[':
			open++
			depth = max(depth, open)
		case '}', ']':
			if open--; open == 0 {
				return i + 1, depth
			}
		}
	}
}

// skipString returns the offset behind the string that begins at i.
func skipString(validJSON []byte, i int) (after int) {
	for i++; validJSON[i] != '"'; i++ {
		if validJSON[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// skipSpace returns the offset of the first byte from i on that is not white space.
func skipSpace(validJSON []byte, i int) (after int) {
	for validJSON[i] == ' ' || validJSON[i] == '\t' || validJSON[i] == '\r' || validJSON[i] == '\n' {
		i++
	}
	return i
}

// unquote returns the text of a JSON string, without quotes and escapes.
func unquote(quoted []byte) []byte {
	if !slices.Contains(quoted, '\\') {
		return quoted[1 : len(quoted)-1]
	}
	var text string
	_ = json.Unmarshal(quoted, &text) // a valid string always has a text
	return []byte(text)
}
