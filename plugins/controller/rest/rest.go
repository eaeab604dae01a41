// Package rest translates Thunder's REST requests to calls of the Controller's
// methods, and their results to responses. It does not know connections, nor how a
// method works.
package rest

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"

	"dormouse/internal/jsonrpc"
	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
)

// Request is a request for /Service/Controller/<name>/<argument>.
type Request struct {
	// Argument is the rest of the path after the resource's name, often empty.
	Argument string
	Query    url.Values
	Body     []byte
	// Call calls a method of the Controller. An error has a number, see
	// thunder.WithNumber.
	Call func(method, index string, params json.RawMessage) (json.RawMessage, error)
}

// Response is the answer to a request.
type Response struct {
	Status      int
	ContentType string // empty without a body
	Body        []byte
}

// Content types of responses.
const (
	JSON = "application/json"
	Text = "text/plain; charset=utf-8"
)

// Resource serves the requests of one HTTP method for one name. It returns a value
// for JSON, a sentence, or nil for an empty body.
type Resource func(Request) (any, error)

// FindResource returns the resource for an HTTP method and a name, and false if there
// is none. The empty name is the Controller itself.
func FindResource(httpMethod, name string) (_ Resource, ok bool) {
	r, ok := resources[httpMethod+" "+name]
	return r, ok
}

// Serve returns the response to a request: 200 with the result, or the error's status
// and text.
func (resource Resource) Serve(r Request) Response {
	result, err := resource(r)
	if err != nil {
		return restErrorOf(err).Response()
	}
	switch result := result.(type) {
	case nil:
		return Response{Status: http.StatusOK}
	case sentence:
		return Response{http.StatusOK, Text, []byte(result + "\n")}
	default:
		return Response{http.StatusOK, JSON, jsonrpc.MustMarshal(result)}
	}
}

// sentence is a result in plain text.
type sentence string

// Error is an error with the HTTP status that the client gets.
type Error struct {
	Status int
	Text   string
}

func (e *Error) Error() string { return e.Text }

// Response returns the error as a response. The statuses 204 and 304 have no body.
func (e *Error) Response() Response {
	if e.Status == http.StatusNoContent || e.Status == http.StatusNotModified {
		return Response{Status: e.Status}
	}
	return Response{e.Status, Text, []byte(e.Text + "\n")}
}

// restErrorOf returns the *Error that err wraps, else err with the HTTP status of its
// number, by default 500.
func restErrorOf(err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	numbered := thunder.WithNumber(err)
	if refusal, ok := errors.AsType[*access.RefusalError](err); ok && refusal.IsUnauthenticated() {
		return &Error{http.StatusUnauthorized, numbered.Error()}
	}
	status, known := statuses[numbered.Number]
	if !known {
		status = http.StatusInternalServerError
	}
	return &Error{status, numbered.Error()}
}

// statuses is the HTTP status of each number. Numbers without one get 500. Thunder
// answers 304 while something is still under way.
var statuses = map[thunder.ErrorNumber]int{
	thunder.Unavailable:       http.StatusServiceUnavailable,
	thunder.IllegalState:      http.StatusConflict,
	thunder.TimedOut:          http.StatusGatewayTimeout,
	thunder.InProgress:        http.StatusNotModified,
	thunder.UnknownKey:        http.StatusNotFound,
	thunder.IncompleteConfig:  http.StatusBadRequest,
	thunder.PrivilegedRequest: http.StatusForbidden,
	thunder.BadRequest:        http.StatusBadRequest,
	thunder.PendingConditions: http.StatusNotModified,
	thunder.NotExist:          http.StatusNotFound,
	thunder.NotSupported:      http.StatusNotImplemented,
	thunder.InProcess:         http.StatusConflict,
	thunder.ParseFailure:      http.StatusBadRequest,
	thunder.UnknownMethod:     http.StatusNotImplemented,
	thunder.InvalidParameter:  http.StatusBadRequest,
	thunder.Aborted:           http.StatusConflict,
	thunder.NoStateControl:    http.StatusNotImplemented,
}
