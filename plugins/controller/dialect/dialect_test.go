package dialect

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/hibernate"
	"dormouse/internal/jsonrpc"
	"dormouse/plugins/thunder"
	"dormouse/shell"
	"dormouse/statecontrol"
)

// Each Go error has a number; a caller reads Thunder's text, and the cause beside it where
// it says more.
func TestFailure(t *testing.T) {
	cause := func(text string) []byte { return []byte(`{"cause":"` + text + `"}`) }
	for _, tt := range []struct {
		err  error
		want jsonrpc.Error
	}{
		{shell.ErrIllegalState, jsonrpc.Error{Code: 5, Message: "The service is in an illegal state!!!."}},
		{fmt.Errorf("x: %w", statecontrol.ErrIllegalState), jsonrpc.Error{Code: 5, Message: "The service is in an illegal state!!!.", Data: cause("x: the plugin is already in that state")}},
		{fmt.Errorf("%w: x", shell.ErrTimedOut), jsonrpc.Error{Code: -32000, Message: "Call timed out.", Data: cause("timed out: x")}},
		{&shell.CallTimeoutError{Delivered: true}, jsonrpc.Error{Code: -32000, Message: "Call timed out.", Data: []byte(`{"cause":"timed out: ","delivered":true}`)}},
		{thunder.WithCallNumber(shell.ErrNotAnswered), jsonrpc.Error{Code: 25, Message: "ERROR_RPC_CALL_FAILED"}},
		{context.DeadlineExceeded, jsonrpc.Error{Code: -32000, Message: "Call timed out."}},
		{context.Canceled, jsonrpc.Error{Code: 58, Message: "ERROR_ABORTED"}},
		{shell.ErrInProgress, jsonrpc.Error{Code: 12, Message: "ERROR_INPROGRESS"}},
		{fmt.Errorf("x: %w", shell.ErrBusy), jsonrpc.Error{Code: 12, Message: "ERROR_INPROGRESS", Data: []byte(`{"cause":"x: too many calls wait for the instance","retryAfterMs":1000}`)}},
		{shell.ErrHibernated, jsonrpc.Error{Code: 46, Message: "The service is in an Hibernated state!!!."}},
		{thunder.WithCallNumber(&shell.AsleepError{Cause: hibernate.ErrUnsupported}), jsonrpc.Error{Code: 46, Message: "Service is hibernated", Data: []byte(`{"cause":"hibernation is not available","retryAfterMs":1}`)}},
		{fmt.Errorf("%w: %w", shell.ErrTimedOut, &shell.AsleepError{Cause: errors.New("x")}), jsonrpc.Error{Code: 46, Message: "The service is in an Hibernated state!!!.", Data: []byte(`{"cause":"timed out: x","retryAfterMs":1}`)}},
		{thunder.WithoutDetails(&shell.AsleepError{Cause: errors.New("/secret")}), jsonrpc.Error{Code: 46, Message: "The service is in an Hibernated state!!!.", Data: []byte(`{"cause":"the instance is hibernated","retryAfterMs":1}`)}},
		{shell.ErrUnavailable, jsonrpc.Error{Code: 2, Message: "ERROR_UNAVAILABLE"}},
		{thunder.WithCallNumber(shell.ErrUnavailable), jsonrpc.Error{Code: 2, Message: "Service is not active"}},
		{thunder.WithCallNumber(shell.ErrExited), jsonrpc.Error{Code: 2, Message: "Service is not active"}},
		{thunder.WithCallNumber(shell.ErrHibernated), jsonrpc.Error{Code: 46, Message: "Service is hibernated"}},
		{shell.ErrBuiltIn, jsonrpc.Error{Code: 47, Message: "ERROR_INPROC"}},
		{fmt.Errorf("%w: no criu", hibernate.ErrUnsupported), jsonrpc.Error{Code: 44, Message: "ERROR_NOT_SUPPORTED", Data: cause("hibernation is not available: no criu")}},
		{thunder.NewError(thunder.PendingConditions, nil), jsonrpc.Error{Code: 31, Message: "ERROR_PENDING_CONDITIONS"}},
		{thunder.NewError(thunder.ParseFailure, errors.New("x")), jsonrpc.Error{Code: 50, Message: "ERROR_PARSE_FAILURE", Data: cause("x")}},
		{thunder.NewError(thunder.ClosingFailed, errors.New("x")), jsonrpc.Error{Code: 19, Message: "ERROR_CLOSING_FAILED", Data: cause("x")}},
		{thunder.NewError(thunder.ClosingFailed, nil), jsonrpc.Error{Code: 19, Message: "ERROR_CLOSING_FAILED"}},
		{errors.New("a <b>\nc"), jsonrpc.Error{Code: 1, Message: "ERROR_GENERAL", Data: cause("a <b>; c")}},
		{&shell.PluginError{Code: 1, Message: "mine"}, jsonrpc.Error{Code: 1, Message: "mine"}},
		{&shell.PluginError{Code: 1001}, jsonrpc.Error{Code: 1001, Message: "ERROR_GENERAL"}},
		{&shell.PluginError{}, jsonrpc.Error{Code: 1, Message: "ERROR_GENERAL"}},
	} {
		if diff := cmp.Diff(&tt.want, ErrorFor(R4{}, tt.err)); diff != "" {
			t.Errorf("%v (-want +got):\n%s", tt.err, diff)
		}
	}
}

// Numbers that are no errors of Thunder's own.
func TestForeignNumbers(t *testing.T) {
	for _, tt := range []struct {
		code         int
		r4, r5, text string // text is R5's
	}{
		{999, "999", "-31999", "Undefined Thunder error code: 999"},
		{1<<31 | 1, "501", "-31501", "ERROR_GENERAL"},
		{1<<24 | 10, "10", "10", "Undefined Custom Error: 10"},
		{1<<24 | 0xfffff6, "-10", "-10", "Undefined Custom Error: -10"},
	} {
		err := &shell.PluginError{Code: tt.code}
		r4, r5 := ErrorFor(R4{}, err), ErrorFor(R5{}, err)
		if got := fmt.Sprint(r4.Code, " ", r5.Code, " ", r5.Message); got != tt.r4+" "+tt.r5+" "+tt.text {
			t.Errorf("%#x: got %s", tt.code, got)
		}
	}
}
