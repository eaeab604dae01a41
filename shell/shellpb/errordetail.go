package shellpb

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// ErrorWithDetail returns a gRPC status error that carries detail to the other end. The
// detail is left out if it can't be encoded.
func ErrorWithDetail(code codes.Code, message string, detail *Error) error {
	plain := status.New(code, message)
	detailed, err := plain.WithDetails(detail)
	if err != nil {
		return plain.Err()
	}
	return detailed.Err()
}

// ErrorDetailOf returns the detail that a gRPC status error carries, nil when there is none.
func ErrorDetailOf(err error) *Error {
	for _, detail := range status.Convert(err).Details() {
		if e, ok := detail.(*Error); ok {
			return e
		}
	}
	return nil
}
