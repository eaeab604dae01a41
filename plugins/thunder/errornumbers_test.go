package thunder

import (
	"testing"

	"dormouse/plugins/sdk"
)

// Every number that Thunder has is known, so that a plugin may use any.
func TestEveryNumberHasAName(t *testing.T) {
	for n := range ErrorNumber(60) {
		if n.Name() == "" {
			t.Errorf("number %d has no name", n)
		}
	}
}

// A plugin cannot import this package: its numbers stand in the SDK a second time.
func TestNumbersOfTheSDK(t *testing.T) {
	for n, own := range map[ErrorNumber]int{
		General: sdk.General, Unavailable: sdk.Unavailable, IllegalState: sdk.IllegalState, TimedOut: sdk.TimedOut,
		InProgress: sdk.InProgress, UnknownKey: sdk.UnknownKey, PrivilegedRequest: sdk.PrivilegedRequest, RPCCallFailed: sdk.RPCCallFailed,
		DuplicateKey: sdk.DuplicateKey, BadRequest: sdk.BadRequest, PendingConditions: sdk.PendingConditions,
		NotExist: sdk.NotExist, NotSupported: sdk.NotSupported, Hibernated: sdk.Hibernated,
		UnknownMethod: sdk.UnknownMethod, InvalidParameter: sdk.InvalidParameter,
	} {
		if int(n) != own {
			t.Errorf("%s is %d, and %d in the SDK", n.Name(), n, own)
		}
	}
}

// Every number reads in R5 as the number says, unless JSON-RPC has its own.
func TestNumbersInR5(t *testing.T) {
	own := map[ErrorNumber]int{
		TimedOut: -32000, PrivilegedRequest: -32604, 51: -32604, FailedUnregistered: -31048,
		InvalidEnvelope: -32600, UnknownMethod: -32601, InvalidParameter: -32602, InternalError: -32603, ParsingEnvelope: -32700,
	}
	for n := range ErrorNumber(60) {
		want := -31000 - int(n)
		if code, ok := own[n]; ok {
			want = code
		}
		if w := n.R5Error(); w.Code != want || w.Text == "" {
			t.Errorf("%d reads as %d %q, want %d", n, w.Code, w.Text, want)
		}
	}
}
