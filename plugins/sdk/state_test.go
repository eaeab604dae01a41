package sdk

import (
	"context"
	"errors"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"dormouse/shell/shellpb"
)

// An error of the state says which kind it is, and keeps number, data and text; a call that a
// sleep cut off is none of them.
func TestStateErrors(t *testing.T) {
	ctx := t.Context()
	conflict := shellpb.ErrorWithDetail(codes.Aborted, "another revision", &shellpb.Error{Code: IllegalState, Data: []byte(`{"revision":7}`)})
	err := stateError(ctx, "set the key", conflict)
	detail, ok := errors.AsType[*Error](err)
	if !errors.Is(err, ErrConflict) || !ok || detail.Code != IllegalState || detail.Data == nil || err.Error() != "cannot set the key: another revision" {
		t.Errorf("a conflict is %v with %+v", err, detail)
	}
	for code, kind := range map[codes.Code]error{codes.NotFound: ErrNotFound, codes.ResourceExhausted: ErrFull} {
		if err := stateError(ctx, "x", shellpb.ErrorWithDetail(code, "why", &shellpb.Error{Code: 1})); !errors.Is(err, kind) || errors.Is(err, ErrConflict) {
			t.Errorf("%s is %v", code, err)
		}
	}
	if err := stateError(ctx, "x", ErrSlept); !errors.Is(err, ErrSlept) || errors.Is(err, ErrConflict) {
		t.Errorf("a sleep is %v", err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if err := stateError(ended, "x", shellpb.ErrorWithDetail(codes.Canceled, "why", &shellpb.Error{Code: 1})); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled call is %v", err)
	}
	if stateError(ctx, "x", nil) != nil {
		t.Error("nil is an error")
	}
}

// Without a host each method says so.
func TestStateWithoutHost(t *testing.T) {
	s := (*Host)(nil).State()
	if _, err := s.Get(t.Context(), "k"); err == nil || !strings.Contains(err.Error(), `cannot get the key "k"`) {
		t.Errorf("got %v", err)
	}
	if _, err := s.PutBlob(t.Context(), "b", "", strings.NewReader("x")); err == nil || !strings.Contains(err.Error(), `cannot put the blob "b"`) {
		t.Errorf("got %v", err)
	}
	for _, err := range s.List(t.Context(), "") {
		if err == nil {
			t.Error("there is a key")
		}
	}
}
