package jsonrpc

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// Null is JSON's null: the id of an answer to something that has none, and the
// result of a method that returns nothing.
var Null = json.RawMessage("null")

// Response answers one request, with a result or an error.
type Response struct {
	// ID is left out when nil: the answer to a notification that failed.
	ID json.RawMessage
	// Result is JSON; nil becomes null.
	Result json.RawMessage
	Error  *Error
}

// Error is the error member of a response.
type Error struct {
	Code    int
	Message string
	// Data is JSON, left out when nil.
	Data json.RawMessage
}

// Notification is an event on its way to a client.
type Notification struct {
	Method string
	// Params is JSON, left out when nil.
	Params json.RawMessage
}

// Append renders the response behind dst. Result, Data and ID must be JSON: they
// are copied as they are.
func (r Response) Append(dst []byte) []byte {
	dst = append(dst, `{"jsonrpc":"2.0"`...)
	if r.ID != nil {
		dst = append(append(dst, `,"id":`...), r.ID...)
	}
	switch {
	case r.Error != nil:
		dst = append(dst, `,"error":{"code":`...)
		dst = strconv.AppendInt(dst, int64(r.Error.Code), 10)
		dst = appendString(append(dst, `,"message":`...), r.Error.Message)
		if r.Error.Data != nil {
			dst = append(append(dst, `,"data":`...), r.Error.Data...)
		}
		dst = append(dst, '}')
	case len(r.Result) == 0:
		dst = append(dst, `,"result":null`...)
	default:
		dst = append(append(dst, `,"result":`...), r.Result...)
	}
	return append(dst, '}')
}

// Append renders the notification behind dst; Params are copied as they are.
func (n Notification) Append(dst []byte) []byte {
	dst = appendString(append(dst, `{"jsonrpc":"2.0","method":`...), n.Method)
	if len(n.Params) > 0 {
		dst = append(append(dst, `,"params":`...), n.Params...)
	}
	return append(dst, '}')
}

// appendString appends s as a JSON string, with the replacement character for
// what is not UTF-8.
func appendString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			dst = append(dst, '\\', byte(r))
		case r == '\n':
			dst = append(dst, '\\', 'n')
		case r < ' ':
			dst = append(dst, '\\', 'u', '0', '0', hex[r>>4], hex[r&0xf])
		default:
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}

// MustMarshal returns v as JSON without HTML escapes. It panics for a value that
// JSON cannot hold: v must be of a type made for it.
func MustMarshal(v any) json.RawMessage {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSpace(b.Bytes())
}
