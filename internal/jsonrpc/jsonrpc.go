// Package jsonrpc is JSON-RPC 2.0 as bytes: it splits what came in and renders
// what goes out. It does not know what a method does, who sent a message or
// what Thunder calls an error.
//
// It is strict about what a message must be and lenient about what Thunder's
// clients do: the version may be missing, ids may be strings, parameters may be
// of any type. Names of members are case-sensitive.
package jsonrpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// What a message may hold at most.
const (
	MaxDepth = 64
	MaxBatch = 100
	maxID    = 1 << 53 // beyond it a JavaScript client would not know its id again
)

// Why a message is refused.
var (
	// ErrSyntax means that the message is not JSON in UTF-8.
	ErrSyntax = errors.New("the message is not JSON")
	// ErrInvalid means that the JSON is not a request.
	ErrInvalid = errors.New("the message is not a JSON-RPC request")
	// ErrNoMethod is an ErrInvalid: an object that could be a request but for the
	// method, which it lacks.
	ErrNoMethod = fmt.Errorf("%w: it has no method", ErrInvalid)
)

// Valid tells whether raw may be sent as it is: JSON in UTF-8, or else a
// browser would close the connection.
func Valid(raw []byte) bool { return utf8.Valid(raw) && json.Valid(raw) }

// Message is one request or a batch of at least one and at most MaxBatch.
type Message struct {
	Batch    bool
	Requests []Request
}

// Request is one call. Its bytes are those of the message.
type Request struct {
	// ID is returned as it came; nil for a notification, which gets no answer.
	ID     json.RawMessage
	Method string
	// Params is nil when there are none; null counts as none.
	Params json.RawMessage
	// Err is what keeps this from being a request, nil for a good one. ID is
	// set if it could be read.
	Err error
}

// Parse splits a message. The error is about the message as a whole and wraps
// ErrSyntax or ErrInvalid; what is wrong with one request is in the request.
func Parse(message []byte) (Message, error) {
	if !utf8.Valid(message) {
		return Message{}, fmt.Errorf("%w: it is not UTF-8", ErrSyntax)
	}
	if !json.Valid(message) {
		var discarded json.RawMessage
		return Message{}, fmt.Errorf("%w: %w", ErrSyntax, json.Unmarshal(message, &discarded))
	}
	if depth(message) > MaxDepth {
		return Message{}, fmt.Errorf("%w: it is nested deeper than %d levels", ErrInvalid, MaxDepth)
	}
	message = bytes.Trim(message, space)
	switch message[0] {
	case '{':
		return Message{Requests: []Request{parseRequest(message)}}, nil
	case '[':
		return parseBatch(message)
	}
	return Message{}, fmt.Errorf("%w: it is neither an object nor an array", ErrInvalid)
}

func parseBatch(array []byte) (Message, error) {
	m := Message{Batch: true}
	for element := range elements(array) {
		if len(m.Requests) == MaxBatch {
			return Message{}, fmt.Errorf("%w: a batch holds at most %d requests", ErrInvalid, MaxBatch)
		}
		r := Request{Err: fmt.Errorf("%w: an element of the batch is not an object", ErrInvalid)}
		if element[0] == '{' {
			r = parseRequest(element)
		}
		m.Requests = append(m.Requests, r)
	}
	if len(m.Requests) == 0 {
		return Message{}, fmt.Errorf("%w: the batch is empty", ErrInvalid)
	}
	return m, nil
}

func parseRequest(object []byte) Request {
	var r Request
	var hasID, hasMethod, hasParams bool
	for name, value := range members(object) {
		switch string(name) {
		case "id":
			r.once(&hasID, "id")
			r.setID(value)
		case "method":
			r.once(&hasMethod, "method")
			r.setMethod(value)
		case "params":
			r.once(&hasParams, "params")
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

func (r *Request) setID(value []byte) {
	switch value[0] {
	case '"', 'n':
		r.ID = value
		return
	case '{', '[', 't', 'f':
		r.fail("its id is neither a number nor a string")
		return
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n > maxID || n < -maxID {
		r.fail("its id %.40s is not a whole number of at most 2^53", value)
		return
	}
	r.ID = value
}

func (r *Request) setMethod(value []byte) {
	if value[0] != '"' {
		r.fail("its method is not a string")
		return
	}
	r.Method = string(unquote(value))
}

func (r *Request) once(seen *bool, name string) {
	if *seen {
		r.fail("it has more than one %s", name)
	}
	*seen = true
}

// fail keeps the first thing that is wrong.
func (r *Request) fail(format string, args ...any) {
	if r.Err == nil {
		r.Err = fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
	}
}
