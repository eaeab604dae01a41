package controller

import (
	"cmp"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	"dormouse/configs"
	"dormouse/plugins/controller/rest"
	"dormouse/shell"
)

// serveServicePath serves the paths below /Service: websockets, web pages, endpoints of
// instances, REST, and the preflight requests of browsers.
func (f *Front) serveServicePath(w http.ResponseWriter, r *http.Request) {
	if isWebsocketUpgrade(r) {
		f.serveUpgrade(w, r)
		return
	}
	if r.Method == http.MethodOptions {
		h := w.Header()
		h.Set("Access-Control-Allow-Methods", "GET,POST,PUT,DELETE")
		h.Set("Access-Control-Allow-Headers", allowedHeaders)
		h.Set("Access-Control-Max-Age", "3600")
		f.respond(w, http.StatusNoContent, "", nil)
		return
	}
	from, _ := f.callerOf(r)
	callsign := cmp.Or(from.callsign, configs.ControllerCallsign)
	name, argument, _ := strings.Cut(r.PathValue("rest"), "/")
	sh, endpoint, own := f.endpointOf(r)
	switch {
	case !f.mayReachOrRespond(w, from, callsign):
	case name == "UI" && isGetOrHead(r):
		f.serveWebUI(w, r, callsign, argument)
	case own:
		f.serveEndpoint(w, r, from, sh, endpoint)
	case callsign == configs.ControllerCallsign:
		f.serveControllerREST(w, r, from, name, argument)
	case sh == nil && isGetOrHead(r) && f.hasPageAtRoot(callsign):
		http.Redirect(w, r, (&url.URL{Path: "/Service/" + callsign + "/", RawQuery: r.URL.RawQuery}).String(), http.StatusMovedPermanently)
	case sh != nil && sh.HasEndpoints():
		w.Header().Set("Cache-Control", "no-store")
		f.respondNoEndpoint(w, sh, strings.TrimPrefix(r.URL.Path, "/Service/"+callsign+"/"))
	default:
		w.Header().Set("Cache-Control", "no-store")
		noREST := &rest.Error{Status: http.StatusServiceUnavailable, Text: "The requested service is not loaded."}
		f.respondREST(w, cmp.Or(f.errorIfNotServing(callsign), noREST).Response())
	}
}

// hasPageAtRoot reports whether the instance answers GET for /Service/<Callsign>/. The relative
// links of such a page want the slash at the end.
func (f *Front) hasPageAtRoot(callsign string) bool {
	sh, ok := f.supervisor.Shell(callsign)
	if ok {
		_, ok = sh.Endpoint(http.MethodGet, "")
	}
	return ok
}

// isGetOrHead reports whether the HTTP method is GET or HEAD.
func isGetOrHead(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead
}

// serveControllerREST answers a REST request to the Controller, for a resource and the
// rest of the path. A plugin has no REST interface.
func (f *Front) serveControllerREST(w http.ResponseWriter, r *http.Request, from caller, resourceName, argument string) {
	verb := r.Method
	if verb == http.MethodHead {
		verb = http.MethodGet
	}
	w.Header().Set("Cache-Control", "no-store")
	switch verb {
	case http.MethodGet, http.MethodPut, http.MethodDelete:
	case http.MethodPost:
		http.Error(w, "There are no POST handlers!", http.StatusBadRequest)
		return
	default:
		w.Header().Set("Allow", "GET, HEAD, PUT, DELETE, OPTIONS")
		http.Error(w, "the method is not allowed", http.StatusMethodNotAllowed)
		return
	}
	resource, ok := rest.FindResource(verb, resourceName)
	if !ok {
		http.Error(w, "Bad request.", http.StatusBadRequest)
		return
	}
	var err error
	if from.dialect, err = f.dialectOfRequest(r); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	body, ok := f.readBodyOrRespond(w, r)
	if !ok {
		return
	}
	ctx := r.Context()
	f.respondREST(w, resource.Serve(rest.Request{
		Argument: strings.TrimSuffix(argument, "/"), Query: r.URL.Query(), Body: body,
		Call: func(method, index string, params json.RawMessage) (json.RawMessage, error) {
			return f.callController(ctx, from, shell.Call{Method: method, Index: index, Params: params})
		},
	}))
}

// respondREST sends the response of a REST request.
func (f *Front) respondREST(w http.ResponseWriter, r rest.Response) {
	setChallenge(w, r.Status)
	f.respond(w, r.Status, r.ContentType, r.Body)
}

// errorIfNotServing returns the error for an instance that does not exist or can't serve
// its web page in its present state, nil if it can.
func (f *Front) errorIfNotServing(callsign string) *rest.Error {
	sh, ok := f.supervisor.Shell(callsign)
	if !ok {
		return &rest.Error{Status: http.StatusNotFound, Text: "There is no callsign: " + callsign}
	}
	switch state := sh.State(); {
	case state.TakesCalls():
		return nil
	case state.IsInSleepCycle():
		return &rest.Error{Status: http.StatusGone, Text: "The requested service is currently in the hibernated mode."}
	default:
		return &rest.Error{Status: http.StatusGone, Text: "The requested service is currently in the deactivated mode."}
	}
}
