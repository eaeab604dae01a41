package controller

import (
	"cmp"
	"fmt"
	"net/http"

	"dormouse/configs"
	"dormouse/internal/jsonrpc"
	"dormouse/plugins/access"
	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// findTarget returns the instance that a call is for: the one that its method names, else the
// one in the caller's path, else the Controller. The error is
// PrivilegedRequest if the caller has no role there, whether or not the instance exists;
// UnknownMethod if method and path name different instances, NotExist, or InvalidSignature
// for a version that the host does not serve.
func (f *Front) findTarget(from caller, d jsonrpc.Designator) (*shell.Shell, error) {
	named := cmp.Or(d.Callsign, from.callsign, configs.ControllerCallsign)
	sh, version, found := f.findInstance(f.dialectOfCaller(from), named)
	reached := access.Target{Callsign: named, Method: d.Method}
	if found {
		reached.Callsign = sh.Callsign()
	}
	if reached.Callsign != configs.ControllerCallsign { // its methods have their own checks
		if err := f.checkReaches(from, reached); err != nil {
			return nil, err
		}
	}
	switch {
	case from.callsign != "" && named != from.callsign && (!found || sh.Callsign() != from.callsign):
		return nil, thunder.NewError(thunder.UnknownMethod, fmt.Errorf("the path names %s, the method names %.80q", from.callsign, named))
	case !found:
		return nil, thunder.NewError(thunder.NotExist, f.supervisor.WhyMissing(named))
	case version != jsonrpc.DefaultVersion, d.Version != jsonrpc.DefaultVersion:
		return nil, thunder.NewError(thunder.InvalidSignature, nil)
	}
	return sh, nil
}

// callsignOfPath returns the callsign of the instance that the path of a request names, or
// "" if the path names none. If there is no such instance in a version that the host serves,
// known is false and the callsign is as the path has it.
func (f *Front) callsignOfPath(r *http.Request) (callsign string, known bool) {
	callsign = r.PathValue("callsign")
	if callsign == "" {
		return "", true
	}
	spoken, err := f.dialectOfRequest(r)
	if err != nil {
		spoken = f.dialect // the request is refused for its dialect later
	}
	sh, version, found := f.findInstance(spoken, callsign)
	if !found || version != jsonrpc.DefaultVersion {
		return callsign, false
	}
	return sh.Callsign(), true
}

// findInstance returns the instance of that callsign. Where the dialect allows it and no
// instance has that callsign, a number at its end is the version of an interface of the
// instance with the shorter callsign: RDK's reference UI calls the Controller "Controller.1".
func (f *Front) findInstance(spoken dialect.Dialect, callsign string) (sh *shell.Shell, version int, found bool) {
	if sh, found = f.supervisor.Shell(callsign); found || !spoken.AllowsVersionInCallsign() {
		return sh, jsonrpc.DefaultVersion, found
	}
	shorter, version, _ := jsonrpc.CutVersion(callsign)
	sh, found = f.supervisor.Shell(shorter)
	return sh, version, found
}
