package controller

import (
	"cmp"
	"encoding/json"
	"errors"
	"net/http"
	"strings"

	"dormouse/configs"
	"dormouse/internal/jsonrpc"
	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/thunder"
	"dormouse/shell"
)

// serveService serves everything below /Service: websockets, web pages and REST.
func (f *Front) serveService(w http.ResponseWriter, r *http.Request) {
	if isUpgrade(r) {
		f.serveUpgrade(w, r)
		return
	}
	if r.Method == http.MethodOptions {
		h := w.Header()
		h.Set("Access-Control-Allow-Methods", "GET,POST,PUT,DELETE")
		h.Set("Access-Control-Allow-Headers", "Content-Type")
		h.Set("Access-Control-Max-Age", "3600")
		f.send(w, http.StatusNoContent, "", nil)
		return
	}
	callsign := cmp.Or(r.PathValue("callsign"), configs.ControllerCallsign)
	name, argument, _ := strings.Cut(r.PathValue("rest"), "/")
	switch {
	case name == "UI" && isRead(r):
		f.serveUI(w, r, callsign, argument)
	case callsign == configs.ControllerCallsign:
		f.serveREST(w, r, name, argument)
	default:
		f.serveAbsent(w, callsign)
	}
}

func isRead(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead
}

// serveREST finds the row for a request and answers what that returns.
func (f *Front) serveREST(w http.ResponseWriter, r *http.Request, name, argument string) {
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
	serve, ok := f.resources[verb+" "+name]
	if !ok {
		http.Error(w, "Bad request.", http.StatusBadRequest)
		return
	}
	spoken, err := f.dialectFor(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	body, ok := f.readBody(w, r)
	if !ok {
		return
	}
	result, err := serve(visit{f, r, spoken, strings.TrimSuffix(argument, "/"), body})
	f.sendREST(w, result, err)
}

func (f *Front) sendREST(w http.ResponseWriter, result any, err error) {
	if err != nil {
		no := refusalOf(err)
		body := []byte(no.text + "\n")
		if no.status == http.StatusNoContent || no.status == http.StatusNotModified {
			f.send(w, no.status, "", nil) // they must not have a body
			return
		}
		f.send(w, no.status, textType, body)
		return
	}
	switch result := result.(type) {
	case nil:
		f.send(w, http.StatusOK, textType, nil)
	case sentence:
		f.send(w, http.StatusOK, textType, []byte(result+"\n"))
	default:
		f.send(w, http.StatusOK, jsonType, jsonrpc.MustMarshal(result))
	}
}

// sentence is a result that is no JSON.
type sentence string

// refusal is why there is no result.
type refusal struct {
	status int
	text   string
}

func (r *refusal) Error() string { return r.text }

// refusalOf says what an error of a method is over REST. An answer that Thunder
// gives, 304 for what is still under way, keeps its number.
func refusalOf(err error) *refusal {
	if r, ok := errors.AsType[*refusal](err); ok {
		return r
	}
	f := thunder.ErrorOf(err)
	status, known := statuses[f.Number]
	if !known {
		status = http.StatusInternalServerError
	}
	return &refusal{status, f.Error()}
}

// statuses says what numbers are called over HTTP; all others are 500.
var statuses = map[thunder.Number]int{
	thunder.Unavailable:       http.StatusServiceUnavailable,
	thunder.IllegalState:      http.StatusConflict,
	thunder.TimedOut:          http.StatusGatewayTimeout,
	thunder.InProgress:        http.StatusNotModified,
	thunder.UnknownKey:        http.StatusNotFound,
	thunder.IncompleteConfig:  http.StatusBadRequest,
	thunder.PrivilegedRequest: http.StatusForbidden,
	thunder.BadRequest:        http.StatusBadRequest,
	thunder.PendingConditions: http.StatusNotModified,
	thunder.NotExist:          http.StatusNotFound,
	thunder.NotSupported:      http.StatusNotImplemented,
	thunder.InProcess:         http.StatusConflict,
	thunder.ParseFailure:      http.StatusBadRequest,
	thunder.UnknownMethod:     http.StatusNotImplemented,
	thunder.InvalidParameter:  http.StatusBadRequest,
	thunder.Aborted:           http.StatusConflict,
	thunder.NoStateControl:    http.StatusNotImplemented,
}

// visit is one REST request.
type visit struct {
	front    *Front
	request  *http.Request
	dialect  dialect.Dialect
	argument string // what follows the name in the path, empty when nothing does
	body     []byte
}

// call calls a method of the Controller, which does the work of REST too.
func (v visit) call(method, index string, params json.RawMessage) (json.RawMessage, error) {
	return v.front.serveOwn(v.request.Context(), caller{dialect: v.dialect}, shell.Call{Method: method, Index: index, Params: params})
}

// serveAbsent answers for a plugin, which has no REST of its own.
func (f *Front) serveAbsent(w http.ResponseWriter, callsign string) {
	w.Header().Set("Cache-Control", "no-store")
	why := f.away(callsign)
	if why == nil {
		why = &refusal{http.StatusServiceUnavailable, "The requested service is not loaded."}
	}
	f.sendREST(w, nil, why)
}

// away tells why an instance can't serve anything now; nil when it can.
func (f *Front) away(callsign string) error {
	sh, ok := f.supervisor.Shell(callsign)
	if !ok {
		return &refusal{http.StatusNotFound, "There is no callsign: " + callsign}
	}
	switch sh.State() {
	case shell.Activated:
		return nil
	case shell.Hibernated, shell.Hibernating, shell.Waking:
		return &refusal{http.StatusGone, "The requested service is currently in the hibernated mode."}
	default:
		return &refusal{http.StatusGone, "The requested service is currently in the deactivated mode."}
	}
}
