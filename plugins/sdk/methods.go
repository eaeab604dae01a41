package sdk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"
)

// Methods are a plugin's methods by name.
type Methods map[string]Handler

// Handler answers one call. What it returns is encoded as JSON; nil becomes
// null. An error may be, or wrap, an *Error; any other has code General.
type Handler func(ctx context.Context, c Call) (any, error)

// Call is one call of a method.
type Call struct {
	Method string
	// Index is what followed "@" in the caller's method, often nothing.
	Index string
	// Params is JSON, empty when the caller gave none.
	Params json.RawMessage
}

// Method is a Handler with typed parameters and a typed result. Params that
// don't fit In, or have a member that In has no field for, are answered with
// InvalidParameter and a text that names the member. Missing members, or no
// params at all, leave zero values; if In has a method Validate() error, it
// has the last word.
func Method[In, Out any](f func(context.Context, In) (Out, error)) Handler {
	return func(ctx context.Context, c Call) (any, error) {
		var in In
		if err := decode(c.Params, &in); err != nil {
			return nil, &Error{Code: InvalidParameter, Message: fmt.Sprintf("invalid parameters: %v", err)}
		}
		return f(ctx, in)
	}
}

// encode returns nothing for nil, and JSON that is ready as it is.
func encode(v any) (json.RawMessage, error) {
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

// decode leaves v alone when there is no data, or only null.
func decode(data json.RawMessage, v any) error {
	if len(bytes.TrimSpace(data)) > 0 {
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.DisallowUnknownFields()
		if err := decoder.Decode(v); err != nil {
			return plain(err)
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

// plain says an error of encoding/json without Go's types.
func plain(err error) error {
	mismatch, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok {
		return errors.New(strings.TrimPrefix(err.Error(), "json: "))
	}
	where := mismatch.Field
	if where == "" {
		where = "the value"
	}
	return fmt.Errorf("%s must be %s, not %s", where, kind(mismatch.Type), mismatch.Value)
}

func kind(t reflect.Type) string {
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
