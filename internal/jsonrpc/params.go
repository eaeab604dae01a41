package jsonrpc

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// DecodeParams decodes the parameters of a call into to, a pointer to a struct. Without
// parameters, or with null, it leaves to as it is. The error says in words for a client which
// parameter is wrong and what it must be; a parameter that to does not have is wrong, too.
func DecodeParams(params json.RawMessage, to any) error {
	params = bytes.TrimSpace(params)
	if len(params) == 0 || string(params) == "null" {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(params))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(to); err != nil {
		if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
			wrong.Field = withoutEmbedded(reflect.TypeOf(to).Elem(), wrong.Field)
		}
		return DecodeError(err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("there is more than one JSON value")
	}
	return nil
}

// withoutEmbedded returns the path of a member in JSON. encoding/json names embedded structs at its
// beginning, too.
func withoutEmbedded(t reflect.Type, path string) string {
	first, rest, more := strings.Cut(path, ".")
	if !more || t.Kind() != reflect.Struct {
		return path
	}
	if f, ok := t.FieldByName(first); ok && f.Anonymous {
		return withoutEmbedded(f.Type, rest)
	}
	return path
}

// DecodeError returns an error of encoding/json in words for a client, without names of Go.
func DecodeError(err error) error {
	if wrong, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		where := "the whole"
		if wrong.Field != "" {
			where = fmt.Sprintf("%q", wrong.Field)
		}
		return fmt.Errorf("%s must be %s, not %s", where, wordsForType(wrong.Type), wordsForValue(wrong.Value))
	}
	if at, ok := errors.AsType[base64.CorruptInputError](err); ok {
		return fmt.Errorf("a value that must be base64 is not, at its character %d", int64(at)+1)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON ends too early")
	}
	text := strings.TrimPrefix(err.Error(), "json: ")
	if name, unknown := strings.CutPrefix(text, "unknown field "); unknown {
		return fmt.Errorf("%s is not known here", name)
	}
	return errors.New(text)
}

// wordsForType returns what the JSON value for a Go type must be, such as "a string".
func wordsForType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return wordsForType(t.Elem())
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		if t.Elem().Kind() == reflect.Uint8 {
			return "a string of base64"
		}
		return "an array"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number of at least 0"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	default:
		return "an object"
	}
}

// wordsForValue returns what encoding/json says was there, such as "a string".
func wordsForValue(found string) string {
	switch kind, literal, _ := strings.Cut(found, " "); {
	case kind == "bool":
		return "true or false"
	case kind == "number" && literal != "":
		return literal
	case kind == "array" || kind == "object":
		return "an " + kind
	default:
		return "a " + kind
	}
}
