// Package jsonrpc parses JSON-RPC 2.0 requests and renders responses and notifications.
// It does not know what a method does, which client sent a message, or the error codes
// of Thunder.
//
// It is lenient where Thunder's clients are: the version may be missing, ids may be
// strings or any numbers, and parameters may be of any type. Names of members are case-sensitive.
package jsonrpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// MaxDepth is how deep arrays and objects of a message may be nested, MaxBatch how many
// requests a batch may have.
const (
	MaxDepth = 64
	MaxBatch = 100
)

// The reasons to refuse a message.
var (
	// ErrSyntax means that the message is not JSON in UTF-8.
	ErrSyntax = errors.New("the message is not JSON")
	// ErrInvalid means that the JSON is not a request.
	ErrInvalid = errors.New("the message is not a JSON-RPC request")
	// ErrNoMethod wraps ErrInvalid and means that a request has no method.
	ErrNoMethod = fmt.Errorf("%w: it has no method", ErrInvalid)
)

// IsJSONInUTF8 reports whether raw is valid JSON in UTF-8. If a host sent anything else, a
// browser would close the connection.
func IsJSONInUTF8(raw []byte) bool { return utf8.Valid(raw) && json.Valid(raw) }

// Message is one request, or a batch of 1 to MaxBatch requests.
type Message struct {
	Batch    bool
	Requests []Request
}

// Request is one call. Its fields share the bytes of the message.
type Request struct {
	// ID is the bytes of the id; nil for a notification, which gets no answer.
	ID     json.RawMessage
	Method string
	// Params is nil if the request has none, or null.
	Params json.RawMessage
	// Err is the fault of a request that is not valid, else nil. ID is set even then
	// if the message has a valid one.
	Err error
}

// Split splits a message into its requests. The error is about the whole message and
// wraps ErrSyntax or ErrInvalid. A fault of one request is in the Err of that request.
func Split(message []byte) (Message, error) {
	if !utf8.Valid(message) {
		return Message{}, fmt.Errorf("%w: it is not UTF-8", ErrSyntax)
	}
	if !json.Valid(message) {
		var discarded json.RawMessage
		return Message{}, fmt.Errorf("%w: %w", ErrSyntax, json.Unmarshal(message, &discarded))
	}
	message = bytes.Trim(message, " \t\r\n")
	if message[0] != '{' && message[0] != '[' {
		return Message{}, fmt.Errorf("%w: it is neither an object nor an array", ErrInvalid)
	}
	if _, depth := skipContainer(message, 0); depth > MaxDepth {
		return Message{}, fmt.Errorf("%w: it is nested deeper than %d levels", ErrInvalid, MaxDepth)
	}
	if message[0] == '[' {
		return splitBatch(message)
	}
	return Message{Requests: []Request{parseRequestOrFault(message)}}, nil
}

// splitBatch returns a message of the requests in the array. An element that is not a
// valid request becomes a Request with Err. The error means that the array is empty or
// too long.
func splitBatch(array []byte) (Message, error) {
	m := Message{Batch: true}
	for element := range arrayElements(array) {
		if len(m.Requests) == MaxBatch {
			return Message{}, fmt.Errorf("%w: a batch holds at most %d requests", ErrInvalid, MaxBatch)
		}
		r := Request{Err: fmt.Errorf("%w: an element of the batch is not an object", ErrInvalid)}
		if element[0] == '{' {
			r = parseRequestOrFault(element)
		}
		m.Requests = append(m.Requests, r)
	}
	if len(m.Requests) == 0 {
		return Message{}, fmt.Errorf("%w: the batch is empty", ErrInvalid)
	}
	return m, nil
}

// parseRequestOrFault returns the request in the object. A fault is in its Err.
func parseRequestOrFault(object []byte) Request {
	var r Request
	var hasID, hasMethod, hasParams bool
	for name, value := range unquotedNamesAndValues(object) {
		switch string(name) {
		case "id":
			r.noteSeenOrSetError(&hasID, "id")
			r.setIDOrError(value)
		case "method":
			r.noteSeenOrSetError(&hasMethod, "method")
			r.setMethodOrError(value)
		case "params":
			r.noteSeenOrSetError(&hasParams, "params")
			if !bytes.Equal(value, Null) {
				r.Params = value
			}
		}
	}
	if !hasMethod && r.Err == nil {
		r.Err = ErrNoMethod
	}
	return r
}

// setIDOrError sets the ID of the request to the value as it was sent, or its error unless
// the value is a number, a string or null. Numbers may be of any size and spelling: nothing
// is computed with them.
func (r *Request) setIDOrError(value []byte) {
	switch value[0] {
	case '{', '[', 't', 'f':
		r.setFirstError("its id is neither a number nor a string")
		return
	}
	r.ID = value
}

// setMethodOrError sets the method of the request, or its error if the value is not a string.
func (r *Request) setMethodOrError(value []byte) {
	if value[0] != '"' {
		r.setFirstError("its method is not a string")
		return
	}
	r.Method = string(unquote(value))
}

// noteSeenOrSetError notes in *seen that the request has a member of this name. It sets
// the error of the request if *seen was true already.
func (r *Request) noteSeenOrSetError(seen *bool, name string) {
	if *seen {
		r.setFirstError("it has more than one %s", name)
	}
	*seen = true
}

// setFirstError sets the error of the request, unless the request has one already.
func (r *Request) setFirstError(format string, args ...any) {
	if r.Err == nil {
		r.Err = fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
	}
}
