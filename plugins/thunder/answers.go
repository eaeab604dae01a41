package thunder

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc/codes"

	"dormouse/shell"
	"dormouse/shell/shellpb"
)

// Answer is what a client gets for an error of a part of the host, on each wire.
type Answer struct {
	Err    error
	Number ErrorNumber
	Code   codes.Code // of gRPC
	Status int        // of HTTP
	// RetryAfter is when the same request may succeed; 0 for never by itself.
	RetryAfter time.Duration
}

// Answers has the answer for each error of a part of the host. The first one that an error matches
// counts.
type Answers []Answer

// To returns the answer for err, which is not nil: of an internal error for one that is not in the
// table.
func (all Answers) To(err error) Answer {
	for _, a := range all {
		if errors.Is(err, a.Err) {
			return a
		}
	}
	return Answer{Err: err, Number: General, Code: codes.Internal, Status: http.StatusInternalServerError}
}

// Data returns what a client gets besides number and text: after how many milliseconds the same
// request may succeed, nil if not by itself.
func (a Answer) Data() json.RawMessage {
	if a.RetryAfter == 0 {
		return nil
	}
	return fmt.Appendf(nil, `{"retryAfterMs":%d}`, a.RetryAfter.Milliseconds())
}

// PluginError returns err as a client of JSON-RPC gets it, with data, which may be nil.
func (a Answer) PluginError(err error, data json.RawMessage) *shell.PluginError {
	return &shell.PluginError{Code: int(a.Number), Message: err.Error(), Data: data}
}

// GRPCError returns err as a gRPC status with Thunder's number and data, which may be nil.
func (a Answer) GRPCError(err error, data json.RawMessage) error {
	return shellpb.ErrorWithDetail(a.Code, err.Error(), &shellpb.Error{Code: int32(a.Number), Data: data})
}

// WriteHTTP answers an HTTP request with err.
func (a Answer) WriteHTTP(w http.ResponseWriter, err error) {
	if a.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(a.RetryAfter.Seconds())))
	}
	http.Error(w, err.Error(), a.Status)
}
