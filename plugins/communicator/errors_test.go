package communicator

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"dormouse/hibernate"
	"dormouse/shell"
	"dormouse/shell/shellpb"
	"dormouse/supervisor"
)

func TestRefusal(t *testing.T) {
	for _, test := range []struct {
		err    error
		code   codes.Code
		number int32
	}{
		{nil, codes.OK, 0},
		{errors.New("whatever"), codes.Unknown, 1},
		{shell.ErrUnavailable, codes.Unavailable, 2},
		{shell.ErrNoStateControl, codes.FailedPrecondition, 2},
		{fmt.Errorf("cannot hibernate: %w", shell.ErrIllegalState), codes.FailedPrecondition, 5},
		{shell.ErrInitialization, codes.Internal, 6},
		{shell.ErrTimedOut, codes.DeadlineExceeded, 11},
		{fmt.Errorf("x: %w", shell.ErrNotAnswered), codes.Unknown, 25},
		{fmt.Errorf("%w: %w", shell.ErrUnavailable, shell.ErrNotDelivered), codes.Unavailable, 2},
		{shell.ErrInProgress, codes.Aborted, 12},
		{shell.ErrBusy, codes.ResourceExhausted, 12},
		{shell.ErrExited, codes.Unavailable, 20},
		{supervisor.ErrUnknown, codes.NotFound, 22},
		{supervisor.ErrNotControlled, codes.PermissionDenied, 24},
		{supervisor.ErrExists, codes.AlreadyExists, 29},
		{shell.ErrNotSupported, codes.Unimplemented, 44},
		{shell.ErrHibernated, codes.FailedPrecondition, 46},
		{&shell.AsleepError{Cause: hibernate.ErrUnsupported}, codes.Unavailable, 46},
		{fmt.Errorf("cannot wake: %w", status.Error(codes.DataLoss, "its own")), codes.Unknown, 1},
	} {
		err := statusFromError(test.err)
		if status.Code(err) != test.code || shellpb.ErrorDetailOf(err).GetCode() != test.number {
			t.Errorf("%v: got %v with %v", test.err, err, shellpb.ErrorDetailOf(err))
		}
	}
	if got := string(shellpb.ErrorDetailOf(statusFromError(shell.ErrBusy)).GetData()); got != `{"retryAfterMs":1000}` {
		t.Errorf("when to come back: %s", got)
	}
	if got := string(shellpb.ErrorDetailOf(statusFromError(&shell.CallTimeoutError{})).GetData()); got != `{"delivered":false}` {
		t.Errorf("whether it was delivered: %s", got)
	}
	own := status.Error(codes.DataLoss, "its own")
	if got := statusFromForwardedCall(own); status.Code(got) != codes.DataLoss {
		t.Errorf("what the plugin answered: %v", got)
	}
}

func TestWithNumber(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	late, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	for _, test := range []struct {
		err    error
		code   codes.Code
		number int32
	}{
		{nil, codes.OK, 0},
		{errors.New("whatever"), codes.Unknown, 1},
		{ended.Err(), codes.Canceled, 58},
		{late.Err(), codes.DeadlineExceeded, 11},
		{contextEndStatus(ended), codes.Canceled, 58},
		{contextEndStatus(late), codes.DeadlineExceeded, 11},
		{errTooSlow, codes.ResourceExhausted, 58},
		{errEnding, codes.Unavailable, 2},
		{errNotOwn, codes.PermissionDenied, 24},
		{status.Error(codes.ResourceExhausted, "a message is too large"), codes.ResourceExhausted, 16},
		{fmt.Errorf("cannot wake: %w", status.Error(codes.DataLoss, "its own")), codes.DataLoss, 1},
	} {
		err := withNumber(test.err)
		if status.Code(err) != test.code || shellpb.ErrorDetailOf(err).GetCode() != test.number {
			t.Errorf("%v: got %v with %v", test.err, err, shellpb.ErrorDetailOf(err))
		}
		if again := withNumber(err); test.err != nil && len(status.Convert(again).Details()) != 1 {
			t.Errorf("%v: numbered twice: %v", test.err, status.Convert(again).Details())
		}
	}
	for code := codes.Canceled; code <= codes.Unauthenticated; code++ {
		s := status.Convert(withNumber(status.Error(code, "so it is")))
		if s.Code() != code || s.Message() != "so it is" || shellpb.ErrorDetailOf(s.Err()).GetCode() == 0 {
			t.Errorf("%v became %v with %v", code, s, s.Details())
		}
	}
}
