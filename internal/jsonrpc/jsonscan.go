package jsonrpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"slices"
)

// The functions in this file expect JSON that json.Valid has accepted.

// Fields returns the members of params by name. The error says that params are not an
// object, or that two members have the same name.
func Fields(params json.RawMessage) (map[string]json.RawMessage, error) {
	if !json.Valid(params) {
		return nil, errors.New("params are not JSON")
	}
	start := skipSpace(params, 0)
	if params[start] != '{' {
		return nil, errors.New("params are not an object")
	}
	fields := make(map[string]json.RawMessage)
	for name, value := range objectMembers(params[start:]) {
		if _, twice := fields[string(name)]; twice {
			return nil, fmt.Errorf("params have more than one %.80q", name)
		}
		fields[string(name)] = value
	}
	return fields, nil
}

// objectMembers yields the names and values of an object.
func objectMembers(object []byte) iter.Seq2[[]byte, json.RawMessage] {
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

// arrayElements yields the elements of an array.
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
func skipValue(valid []byte, i int) int {
	switch valid[i] {
	case '"':
		return skipString(valid, i)
	case '{', '[':
		end, _ := skipContainer(valid, i)
		return end
	}
	for ; i < len(valid); i++ {
		switch valid[i] {
		case ',', '}', ']', ' ', '\t', '\r', '\n':
			return i
		}
	}
	return i
}

// skipContainer returns the offset behind the array or object that begins at i, and how
// deep arrays and objects are nested there.
func skipContainer(valid []byte, i int) (end, depth int) {
	for open := 0; ; i++ {
		switch valid[i] {
		case '"':
			i = skipString(valid, i) - 1
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
func skipString(valid []byte, i int) int {
	for i++; valid[i] != '"'; i++ {
		if valid[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// skipSpace returns the offset of the first byte from i on that is not white space.
func skipSpace(valid []byte, i int) int {
	for valid[i] == ' ' || valid[i] == '\t' || valid[i] == '\r' || valid[i] == '\n' {
		i++
	}
	return i
}

// unquote returns the text of a JSON string.
func unquote(quoted []byte) []byte {
	if !slices.Contains(quoted, '\\') {
		return quoted[1 : len(quoted)-1]
	}
	var text string
	_ = json.Unmarshal(quoted, &text) // a valid string always has a text
	return []byte(text)
}
