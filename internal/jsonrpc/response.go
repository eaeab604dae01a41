package jsonrpc

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// Null is the JSON null: the id of an answer to a message that has no id, and the result
// of a method that returns nothing.
var Null = json.RawMessage("null")

// Response is the answer to one request, with a result or an error.
type Response struct {
	// ID is left out if nil, as in the answer to a notification that failed.
	ID json.RawMessage
	// Result is JSON; nil stands for null.
	Result json.RawMessage
	Error  *Error
}

// Error is the error member of a response.
type Error struct {
	Code    int
	Message string
	// Data is JSON, left out if nil.
	Data json.RawMessage
}

// Notification is a message to a client that gets no answer.
type Notification struct {
	Method string
	// Params is JSON, left out if nil.
	Params json.RawMessage
}

// Append appends the response to dst. It copies ID, Result and Data as they are, so
// they must be JSON.
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

// Append appends the notification to dst. It copies Params as they are, so they must be
// JSON.
func (n Notification) Append(dst []byte) []byte {
	dst = appendString(append(dst, `{"jsonrpc":"2.0","method":`...), n.Method)
	if len(n.Params) > 0 {
		dst = append(append(dst, `,"params":`...), n.Params...)
	}
	return append(dst, '}')
}

// appendString appends s as a JSON string, with the replacement character for bytes
// that are not UTF-8.
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

// MustMarshal returns v as JSON without HTML escapes. It panics if JSON cannot
// represent v.
func MustMarshal(v any) json.RawMessage {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		panic(err)
	}
	return bytes.TrimSpace(b.Bytes())
}
