package controller

import (
	"errors"
	"net/http"
	"path/filepath"
	"slices"
	"sync"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// checkAccess returns nil if the caller has the role needed for all targets, else an error
// with the number PrivilegedRequest that says which role is missing. It logs a refusal.
func (f *Front) checkAccess(from caller, needed access.Role, targets ...access.Target) error {
	for _, t := range targets {
		if err := f.access.Check(from.client, needed, t); err != nil {
			return f.logAndNumberRefusal(err)
		}
	}
	return nil
}

// hasRole reports whether the websocket's client has the role needed for events of the
// callsign.
func (s *socket) hasRole(needed access.Role, callsign string) bool {
	t := access.Target{Callsign: callsign, Method: "register"}
	return s.front.access.RoleOf(s.from.client, t) >= needed
}

// checkReaches returns nil if the caller may know whether the target's instance exists; for
// the Controller, or with an empty callsign, if it may use anything at all. Else it logs the
// refusal and returns an error with the number PrivilegedRequest.
func (f *Front) checkReaches(from caller, t access.Target) error {
	if t.Callsign == configs.ControllerCallsign {
		t.Callsign = ""
	}
	if err := f.access.CheckReaches(from.client, t); err != nil {
		return f.logAndNumberRefusal(err)
	}
	return nil
}

// logAndNumberRefusal logs the refusal that err is, and returns it with its number.
func (f *Front) logAndNumberRefusal(err error) error {
	if r, ok := errors.AsType[*access.RefusalError](err); ok {
		f.audit.LogRefusal(r)
	}
	return thunder.NewError(thunder.PrivilegedRequest, err)
}

// mayReachOrRespond reports whether the caller may know whether the instance exists, see
// checkReaches. If not, it answers the request.
func (f *Front) mayReachOrRespond(w http.ResponseWriter, from caller, callsign string) bool {
	err := f.checkReaches(from, access.Target{Callsign: callsign})
	if err != nil {
		respondRefusal(w, err)
	}
	return err == nil
}

// respondRefusal answers a request with a refusal: 401 if the host does not know the client,
// else 403.
func respondRefusal(w http.ResponseWriter, err error) {
	status := refusalHTTPStatus(err)
	setChallenge(w, status)
	http.Error(w, err.Error(), status)
}

// refusalHTTPStatus returns the HTTP status of a refusal, 0 if err is another error.
func refusalHTTPStatus(err error) int {
	r, ok := errors.AsType[*access.RefusalError](err)
	switch {
	case !ok:
		return 0
	case r.IsUnauthenticated():
		return http.StatusUnauthorized
	}
	return http.StatusForbidden
}

// setChallenge adds the header that HTTP demands of a response with status 401.
func setChallenge(w http.ResponseWriter, status int) {
	if status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="dormouse"`)
	}
}

// neededRole returns the role that a caller needs for the request: writeAccess to write a
// variable, and only access.Read to subscribe to the events of a part of the host.
func (m *method) neededRole(r request) access.Role {
	switch {
	case m.form == variable && r.raw != nil:
		return m.writeAccess
	case m.access == access.Call && r.shell.IsBuiltIn():
		return access.Read
	}
	return m.access
}

// targets returns what the request is about, one target for each instance.
func (m *method) targets(r request) []access.Target {
	about := m.about
	if about == nil {
		about = calledOrNamedInstance
	}
	var targets []access.Target
	for _, callsign := range about(r) {
		targets = append(targets, m.target(callsign))
	}
	return targets
}

// target returns what a call of the method is about: the instance, or with an empty callsign
// the host.
func (m *method) target(callsign string) access.Target {
	return access.Target{Callsign: callsign, Method: m.name, Aliases: m.aliases}
}

// calledOrNamedInstance returns the instance that was called, else the one in the parameter
// callsign. Without either, and for the Controller, it returns "", the host.
func calledOrNamedInstance(r request) []string {
	switch {
	case r.shell == nil:
		return []string{r.args["callsign"]}
	case r.shell.Callsign() == configs.ControllerCallsign:
		return []string{""}
	}
	return []string{r.shell.Callsign()}
}

// indexedInstance returns the instance that the index names, "" without one.
func indexedInstance(r request) []string { return []string{r.index} }

// cloneAndSource returns the instances in the parameters of clone.
func cloneAndSource(r request) []string { return []string{r.args["callsign"], r.args["newcallsign"]} }

// subscribedInstance returns the instance whose events a subscription is about: of the
// Controller's events, which have no instance of their own, the one that the index names.
func subscribedInstance(r request) []string {
	if r.shell.Callsign() == configs.ControllerCallsign {
		return indexedInstance(r)
	}
	return calledOrNamedInstance(r)
}

// instanceOfPath returns the instance that keeps the file in the parameter path.
func instanceOfPath(r request) []string {
	owner, _ := r.front.ownerOfPersistentFile(filepath.Clean(r.args["path"]))
	return []string{owner}
}

// NeededRole returns the role that a client needs to call the method of that name, one that
// the host itself serves, or with write to write its variable. It returns access.None, which
// no role suffices for, if there is no such method.
func NeededRole(method string, write bool) access.Role {
	m, ok := hostMethods()[method]
	switch {
	case !ok:
		return access.None
	case write && m.form == variable:
		return m.writeAccess
	}
	return m.access
}

// TargetOf returns what a call of the method of that name, one that the host itself serves,
// is about: the instance, or with an empty callsign the host.
func TargetOf(callsign, method string) access.Target {
	if m, ok := hostMethods()[method]; ok {
		return m.target(callsign)
	}
	return access.Target{Callsign: callsign, Method: method}
}

// hostMethods returns all methods that the host itself serves, by name and alias.
var hostMethods = sync.OnceValue(func() map[string]*method {
	return methodsByNameAndAlias(slices.Concat(controllerMethods(), commonMethods()))
})

// neededForInstance returns the role that a caller needs for a method that the instance
// itself serves, and what the call is about. For a part of the host its own table counts.
func (f *Front) neededForInstance(sh *shell.Shell, c shell.Call) (access.Role, access.Target) {
	if !sh.IsBuiltIn() {
		return access.Call, access.Target{Callsign: sh.Callsign(), Method: c.Method}
	}
	if f.options.BuiltinAccess == nil {
		return access.None, access.Target{Callsign: sh.Callsign(), Method: c.Method}
	}
	return f.options.BuiltinAccess(sh, c)
}

// seesDetails reports whether the caller may see of an instance, or with an empty callsign of
// the host, what is not for every reader: configuration, environment, paths, addresses of
// other clients, and texts in which any of these may stand.
func (f *Front) seesDetails(from caller, t access.Target) bool {
	return f.access.RoleOf(from.client, t) >= access.Operate
}

// seesDetailsOf reports whether the caller may see the details of an instance, or with an
// empty callsign of the host.
func (r request) seesDetailsOf(callsign string) bool {
	return r.front.seesDetails(r.from, r.called.target(callsign))
}

// errorForCaller returns err without its details if the caller may not see them.
func (f *Front) errorForCaller(from caller, t access.Target, err error) error {
	if err == nil || f.seesDetails(from, t) {
		return err
	}
	return thunder.WithoutDetails(err)
}
