package sdk

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// Methods is a plugin's methods by name.
type Methods map[string]Handler

// Handler answers a call of a method. Its result is encoded as JSON; nil becomes
// null. If its error is or wraps an *Error, the caller gets that error's number and
// data, else the number General.
type Handler func(ctx context.Context, c Call) (any, error)

// Call is one call of a method.
type Call struct {
	Method string
	// Index is the text after "@" in the method that the caller named, often empty.
	Index string
	// Params is the parameters as JSON, empty if the caller gave none.
	Params json.RawMessage
}

// Method returns a Handler for a function with typed parameters and result.
// Parameters that don't fit In, or have a member without a field in In, are
// answered with InvalidParameter and a text that names the member. A field without
// a member keeps its zero value. If In has a method Validate() error, its error is
// answered with InvalidParameter too.
func Method[In, Out any](f func(context.Context, In) (Out, error)) Handler {
	return func(ctx context.Context, c Call) (any, error) {
		var in In
		if err := decodeAndValidateJSON(c.Params, &in); err != nil {
			return nil, &Error{Code: InvalidParameter, Message: fmt.Sprintf("invalid parameters: %v", err)}
		}
		return f(ctx, in)
	}
}

// encodeJSON returns v as JSON. It returns nil for nil, and a json.RawMessage unchanged, or
// an error if that is not JSON.
func encodeJSON(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	raw, ok := v.(json.RawMessage)
	switch {
	case !ok:
		return json.Marshal(v)
	case len(raw) > 0 && !json.Valid(raw):
		return nil, errors.New("it is not JSON")
	}
	return raw, nil
}

// decodeAndValidateJSON decodes data into v, unless data is empty, and then calls v's method
// Validate, if there is one. A member that v does not have is an error.
func decodeAndValidateJSON(data json.RawMessage, v any) error {
	if len(bytes.TrimSpace(data)) > 0 {
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(v); err != nil {
			return jsonErrorWithoutGoTypes(err)
		}
		if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
			return errors.New("there is more than one JSON value")
		}
	}
	if v, ok := v.(interface{ Validate() error }); ok {
		return v.Validate()
	}
	return nil
}

// jsonErrorWithoutGoTypes returns an error of encoding/json in words for a caller, without
// the names of Go types.
func jsonErrorWithoutGoTypes(err error) error {
	mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	where := cmp.Or(mismatch.Field, "the value")
	return fmt.Errorf("%s must be %s, not %s", where, jsonTypeInWords(mismatch.Type), mismatch.Value)
}

// jsonTypeInWords returns the JSON type that a Go type is decoded from, such as "a string".
func jsonTypeInWords(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "a boolean"
	case reflect.String:
		return "a string"
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number, not negative"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return "a whole number"
	default:
		return t.String()
	}
}
