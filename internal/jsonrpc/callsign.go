package jsonrpc

import (
	"fmt"
	"strings"
)

// reservedPrefix begins the names that JSON-RPC keeps for itself.
const reservedPrefix = "rpc."

// CheckCallsign returns an error if a call to that callsign would be read as something else:
// "X.1.status" is version 1 of X, and "X.rpc.discover" asks X what it serves. Case makes no
// difference. The error names a similar callsign that has no such fault.
func CheckCallsign(callsign string) error {
	why := checkReadAsWritten(callsign)
	if why == nil {
		why = checkReadAsWritten(strings.ToLower(callsign))
	}
	if why == nil && hasReservedPrefix(callsign) {
		why = fmt.Errorf("JSON-RPC reserves names that begin with %q", reservedPrefix)
	}
	if why == nil {
		return nil
	}
	return fmt.Errorf("%w; call it %q, for example", why, withoutMisreadDots(callsign))
}

// checkReadAsWritten returns an error that says how a call to the callsign is read, nil if
// it is read as one to that callsign.
func checkReadAsWritten(callsign string) error {
	for _, method := range []string{"method", "discover"} {
		call := callsign + "." + method
		d, err := ParseDesignator(call)
		if err != nil {
			return err
		}
		switch d.Callsign {
		case callsign:
		case "":
			return fmt.Errorf("a call of %q means the whole host", call)
		default:
			return fmt.Errorf("a call of %q means %q of %q in version %d", call, d.Method, d.Callsign, d.Version)
		}
	}
	return nil
}

// hasReservedPrefix reports whether the callsign begins with reservedPrefix in upper or lower
// case.
func hasReservedPrefix(callsign string) bool {
	return strings.HasPrefix(strings.ToLower(callsign), reservedPrefix)
}

// withoutMisreadDots returns the callsign with "-" for its last dot, and for that of a
// reserved prefix. Without a dot it gets one more character.
func withoutMisreadDots(callsign string) string {
	dot := strings.LastIndexByte(callsign, '.')
	if dot < 0 {
		return callsign + "-1"
	}
	callsign = callsign[:dot] + "-" + callsign[dot+1:]
	if hasReservedPrefix(callsign) {
		callsign = strings.Replace(callsign, ".", "-", 1)
	}
	return callsign
}
