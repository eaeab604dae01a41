package shellpb

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Status returns an error that carries detail to the other end. The detail is
// left out when it can't be encoded.
func Status(code codes.Code, message string, detail *Error) error {
	plain := status.New(code, message)
	detailed, err := plain.WithDetails(detail)
	if err != nil {
		return plain.Err()
	}
	return detailed.Err()
}

// Detail returns the Error that a status carries, nil when there is none.
func Detail(err error) *Error {
	for _, detail := range status.Convert(err).Details() {
		if e, ok := detail.(*Error); ok {
			return e
		}
	}
	return nil
}
