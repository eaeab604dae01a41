package controller

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
	"dormouse/hibernate"
	"dormouse/internal/jsonrpc"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/statecontrol"
)

// Each Go error has a number; a caller reads Thunder's text, or the cause where
// Thunder has none worth reading.
func TestFailure(t *testing.T) {
	cause := func(text string) []byte { return []byte(`{"cause":"` + text + `"}`) }
	for _, tt := range []struct {
		err  error
		want jsonrpc.Error
	}{
		{shell.ErrIllegalState, jsonrpc.Error{Code: 5, Message: "The service is in an illegal state!!!."}},
		{fmt.Errorf("x: %w", statecontrol.ErrIllegalState), jsonrpc.Error{Code: 5, Message: "The service is in an illegal state!!!.", Data: cause("x: the plugin is already in that state")}},
		{fmt.Errorf("%w: x", shell.ErrTimedOut), jsonrpc.Error{Code: -32000, Message: "timed out: x"}},
		{context.DeadlineExceeded, jsonrpc.Error{Code: -32000, Message: "context deadline exceeded"}},
		{context.Canceled, jsonrpc.Error{Code: 58, Message: "ERROR_ABORTED"}},
		{shell.ErrInProgress, jsonrpc.Error{Code: 12, Message: "ERROR_INPROGRESS"}},
		{fmt.Errorf("x: %w", shell.ErrBusy), jsonrpc.Error{Code: 12, Message: "ERROR_INPROGRESS", Data: []byte(`{"cause":"x: too many calls wait for the instance","retryAfterMs":1000}`)}},
		{shell.ErrHibernated, jsonrpc.Error{Code: 46, Message: "The service is in an Hibernated state!!!."}},
		{shell.ErrUnavailable, jsonrpc.Error{Code: 2, Message: "ERROR_UNAVAILABLE"}},
		{thunder.CallErrorOf(shell.ErrUnavailable), jsonrpc.Error{Code: 2, Message: "Service is not active"}},
		{thunder.CallErrorOf(shell.ErrExited), jsonrpc.Error{Code: 2, Message: "Service is not active"}},
		{thunder.CallErrorOf(shell.ErrHibernated), jsonrpc.Error{Code: 46, Message: "Service is hibernated"}},
		{shell.ErrInProcess, jsonrpc.Error{Code: 47, Message: "ERROR_INPROC"}},
		{fmt.Errorf("%w: no criu", hibernate.ErrUnsupported), jsonrpc.Error{Code: 44, Message: "hibernation is not available: no criu"}},
		{thunder.NewError(thunder.PendingConditions, nil), jsonrpc.Error{Code: 31, Message: "ERROR_PENDING_CONDITIONS"}},
		{thunder.NewError(thunder.ClosingFailed, nil), jsonrpc.Error{Code: 19, Message: "ERROR_CLOSING_FAILED"}},
		{errors.New("a <b>\nc"), jsonrpc.Error{Code: 1, Message: "a <b>; c"}},
		{&shell.PluginError{Code: 1001}, jsonrpc.Error{Code: 1001, Message: "ERROR_GENERAL"}},
		{&shell.PluginError{}, jsonrpc.Error{Code: 1, Message: "ERROR_GENERAL"}},
	} {
		if diff := cmp.Diff(&tt.want, failure(thunderR4{}, tt.err)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tt.err, diff)
		}
	}
}

// The front is also a plugin, for those who don't come over the network.
func TestBackend(t *testing.T) {
	h := newHost(t, setup{})
	own, _ := h.supervisor.Shell(configs.ControllerCallsign)
	result, err := own.Invoke(t.Context(), shell.Call{Method: "framework"})
	if err != nil || string(result) != `{"hash":"v1.2.3-4-gabc","major":1,"minor":2,"patch":3}` {
		t.Errorf("got %s, %v", result, err)
	}
	_, err = own.Invoke(t.Context(), shell.Call{Method: "activate", Params: []byte(`{"callsign":"Nope"}`)})
	if answered, ok := errors.AsType[*shell.PluginError](err); !ok || answered.Code != 22 {
		t.Errorf("got %v", err)
	}
	if exists, err := own.Exists(t.Context(), "activate"); !exists || err != nil {
		t.Errorf("got %v, %v", exists, err)
	}
}
