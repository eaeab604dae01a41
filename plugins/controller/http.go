package controller

import (
	"bytes"
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"dormouse/configs"
	"dormouse/plugins/access"
	"dormouse/plugins/controller/dialect"
	"dormouse/plugins/controller/rest"
)

// allowedHeaders are the headers that pages of allowed origins may send.
const allowedHeaders = "Content-Type, Authorization"

// healthPath is the path that answers every client, known or not, while the host serves.
const healthPath = "/healthz"

// routes returns the handlers of all URLs.
func (f *Front) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for _, path := range []string{"/jsonrpc", "/jsonrpc/{$}", "/jsonrpc/{callsign}"} {
		mux.HandleFunc(path, f.serveJSONRPCPath)
	}
	for _, path := range []string{"/Service", "/Service/{$}", "/Service/{callsign}", "/Service/{callsign}/{rest...}"} {
		mux.HandleFunc(path, f.serveServicePath)
	}
	mux.HandleFunc("GET /{$}", f.redirectToConfiguredPage)
	mux.HandleFunc("GET /metrics", f.serveMetrics)
	mux.HandleFunc("GET "+healthPath, func(w http.ResponseWriter, _ *http.Request) {
		f.respond(w, http.StatusOK, rest.Text, []byte("ok"))
	})
	return mux
}

// NewServer returns an HTTP server for the front, with time limits for slow clients. It
// closes connections beyond the limits, which all servers of a front share. Its Shutdown
// leaves websockets open; Front.Close ends them. A client is answered in the listener's
// dialect, unless the client's URL asks for another.
func (f *Front) NewServer(l configs.Listener) *http.Server {
	return &http.Server{
		Handler:           f,
		ReadHeaderTimeout: f.limits.headerTime,
		IdleTimeout:       f.limits.idleTime,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(f.log.With().Str("level", "warn").Logger(), "", 0),
		BaseContext: func(net.Listener) context.Context {
			ctx := context.WithValue(f.ctx, dialectKey{}, dialect.ByNameOrR4(l.Dialect))
			if l.Only != "" {
				ctx = context.WithValue(ctx, onlyKey{}, "/"+l.Only)
			}
			return ctx
		},
		ConnContext: f.identifyAndAddConnection,
		ConnState:   f.connections.markOrRemove,
	}
}

// ServeHTTP serves a request if the browser guard allows it, else answers 403. A client
// without any role gets 401 if nothing is known of it, else 403. After Close ServeHTTP
// answers 503.
func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !f.beginRequestUnlessClosed() {
		http.Error(w, "the host is ending", http.StatusServiceUnavailable)
		return
	}
	defer f.running.Done()
	defer connectionFromContext(r.Context()).beginRequest()()
	connectionFromContext(r.Context()).noteActivity(r.URL.Path)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if f.isOutsideListener(r) {
		http.NotFound(w, r)
		return
	}
	if why := f.browserGuard.refusalReason(r); why != "" {
		f.audit.LogRejected(r.RemoteAddr, why)
		http.Error(w, why, http.StatusForbidden)
		return
	}
	if origin := r.Header.Get("Origin"); isBrowserOrigin(origin) {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Vary", "Origin")
	}
	mounted := f.options.Mount.takes(r.URL.Path)
	if !mounted && !isForEveryClient(r) && !f.mayReachOrRespond(w, caller{client: f.clientOf(r)}, "") {
		return
	}
	taken := f.bytesOfRequest(r)
	share := connectionFromContext(r.Context()).shareOrNil()
	if err := share.Take(taken); err != nil {
		f.respondNoMemory(w, r)
		return
	}
	defer share.GiveBack(taken)
	if r.ContentLength != 0 { // also for bodies that no handler reads
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(f.limits.bodyTime))
	}
	if mounted {
		f.serveMount(w, r)
		return
	}
	f.mux.ServeHTTP(w, r)
}

// bytesOfRequest returns the memory that a request with a body takes while it is served.
// Websockets take theirs for each message.
func (f *Front) bytesOfRequest(r *http.Request) int {
	if r.ContentLength == 0 || isWebsocketUpgrade(r) {
		return 0
	}
	if _, endpoint, own := f.endpointOf(r); own {
		return bytesWithMessage(int(endpoint.MemoryOf(r)))
	}
	if r.ContentLength < 0 {
		return bytesWithMessage(int(f.limits.messageBytes))
	}
	return bytesWithMessage(int(min(r.ContentLength, f.limits.messageBytes)))
}

// respondNoMemory answers 503 to a request for which the client's share of the memory has no
// room, in JSON-RPC if the request is a call.
func (f *Front) respondNoMemory(w http.ResponseWriter, r *http.Request) {
	setRetryAfter(w)
	from, _ := f.callerOf(r)
	if spoken, err := f.dialectOfRequest(r); err == nil && r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/jsonrpc") {
		from.dialect = spoken
		f.respond(w, http.StatusServiceUnavailable, rest.JSON, f.refuseForMemory(from, nil).body)
		return
	}
	http.Error(w, errNoMemoryForCall.Error(), http.StatusServiceUnavailable)
}

// isForEveryClient reports whether a request reaches its handler whatever the client's role
// is: a health check, a browser's preflight request, and a POST of JSON-RPC, which is refused
// in JSON.
func isForEveryClient(r *http.Request) bool {
	return r.URL.Path == healthPath || r.Method == http.MethodOptions ||
		r.Method == http.MethodPost && strings.HasPrefix(r.URL.Path, "/jsonrpc")
}

// serveJSONRPCPath serves the paths below /jsonrpc: calls by POST, websockets, and the
// preflight requests of browsers.
func (f *Front) serveJSONRPCPath(w http.ResponseWriter, r *http.Request) {
	if isWebsocketUpgrade(r) {
		f.serveUpgrade(w, r)
		return
	}
	if r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "" {
		w.Header().Set("Access-Control-Allow-Methods", http.MethodPost)
		w.Header().Set("Access-Control-Allow-Headers", allowedHeaders)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	from, known := f.callerOf(r)
	switch {
	case from.callsign != "" && !f.mayReachOrRespond(w, from, from.callsign):
	case !known:
		http.NotFound(w, r)
	case r.Method != http.MethodPost:
		f.respondMethodNotAllowed(w)
	case !mayReadBody(r):
		const why = "JSON-RPC from a web page needs the header Content-Type: application/json"
		f.audit.LogRejected(r.RemoteAddr, why)
		http.Error(w, why, http.StatusUnsupportedMediaType)
	default:
		f.serveJSONRPCPost(w, r, from)
	}
}

// callerOf returns the sender of a request, with the callsign in its path. If that names no
// instance, known is false.
func (f *Front) callerOf(r *http.Request) (_ caller, known bool) {
	callsign, known := f.callsignOfPath(r)
	return caller{client: f.clientOf(r), callsign: callsign, share: connectionFromContext(r.Context()).shareOrNil()}, known
}

// isWebsocketUpgrade reports whether the request asks for a websocket.
func isWebsocketUpgrade(r *http.Request) bool {
	return r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// serveUpgrade turns the connection into a websocket, if the path names an instance or
// none; else it answers 503. It refuses a client that has no role there.
func (f *Front) serveUpgrade(w http.ResponseWriter, r *http.Request) {
	from, known := f.callerOf(r)
	if from.callsign != "" && !f.mayReachOrRespond(w, from, from.callsign) {
		return
	}
	if !known || r.PathValue("rest") != "" {
		http.Error(w, "Could not find a correct service for this socket.", http.StatusServiceUnavailable)
		return
	}
	f.upgradeAndServeWebsocket(w, r, from)
}

// serveJSONRPCPost answers the JSON-RPC message in the body of a request: 405 if there is no
// body, 204 if nothing is to be answered.
func (f *Front) serveJSONRPCPost(w http.ResponseWriter, r *http.Request, from caller) {
	spoken, err := f.dialectOfRequest(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	from.dialect = spoken
	message, ok := f.readBodyOrRespond(w, r)
	switch {
	case !ok:
		return
	case len(message) == 0:
		f.respondMethodNotAllowed(w)
		return
	}
	answer := f.answerMessage(r.Context(), from, message)
	defer answer.release()
	w.Header().Set("Cache-Control", "no-store")
	if answer.body == nil {
		f.respond(w, http.StatusNoContent, "", nil)
		return
	}
	status := answer.outcome.httpStatus(spoken)
	if refusal := f.access.CheckReaches(from.client, access.Target{}); refusal != nil { // also for a batch
		status = refusalHTTPStatus(refusal)
	}
	setChallenge(w, status)
	f.respond(w, status, rest.JSON, answer.body)
}

// readBodyOrRespond returns the body of a request. If the body is too long or cannot be
// read, readBodyOrRespond answers the request and returns false. The time limit for
// sending the body ends here: the call may take longer.
func (f *Front) readBodyOrRespond(w http.ResponseWriter, r *http.Request) (body []byte, ok bool) {
	var received bytes.Buffer
	if n := r.ContentLength; n > 0 && n <= f.limits.messageBytes {
		received.Grow(int(n) + bytes.MinRead) // or it would grow to twice as much
	}
	_, err := received.ReadFrom(http.MaxBytesReader(w, r.Body, f.limits.messageBytes))
	tooBig, isTooBig := errors.AsType[*http.MaxBytesError](err)
	switch {
	case isTooBig:
		http.Error(w, "the body has more than "+strconv.FormatInt(tooBig.Limit, 10)+" bytes", http.StatusRequestEntityTooLarge)
		return nil, false
	case err != nil:
		w.Header().Set("Connection", "close")
		http.Error(w, "the body could not be read", http.StatusBadRequest)
		return nil, false
	}
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{})
	return received.Bytes(), true
}

// respond sends a whole response. A client that does not take it within the time limit
// is cut off.
func (f *Front) respond(w http.ResponseWriter, status int, contentType string, body []byte) {
	defer f.startWriteDeadline(w)()
	if len(body) > 0 {
		w.Header().Set("Content-Type", contentType)
	}
	if status != http.StatusNoContent && status != http.StatusNotModified {
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// startWriteDeadline sets the deadline by which the client must take its response.
// flushAndClear flushes the response and removes the deadline, which must not apply to the
// connection's next request.
func (f *Front) startWriteDeadline(w http.ResponseWriter) (flushAndClear func()) {
	conn := http.NewResponseController(w)
	_ = conn.SetWriteDeadline(time.Now().Add(f.limits.writeTime))
	return func() {
		_ = conn.Flush()
		_ = conn.SetWriteDeadline(time.Time{})
	}
}

// httpStatus returns the HTTP status of an answer in that dialect.
func (o outcome) httpStatus(d dialect.Dialect) int {
	switch o {
	case failed:
		return d.FailureHTTPStatus()
	case malformed:
		return http.StatusBadRequest
	case refused:
		return http.StatusForbidden
	case unauthenticated:
		return http.StatusUnauthorized
	default:
		return http.StatusOK
	}
}

// respondMethodNotAllowed answers 405 to a client: JSON-RPC needs POST and a body.
func (f *Front) respondMethodNotAllowed(w http.ResponseWriter) {
	w.Header().Set("Allow", http.MethodPost)
	http.Error(w, "JSON-RPC only supported via POST request with a body", http.StatusMethodNotAllowed)
}

// dialectKey is the key of the listener's dialect in the context of a request.
type dialectKey struct{}

// dialectOfRequest returns the dialect that the URL asks for with ?dialect=, else that of
// the host's web page that sent the request, else the
// listener's, else the front's. The error, for an unknown name, is written for the
// client.
func (f *Front) dialectOfRequest(r *http.Request) (dialect.Dialect, error) {
	if r.URL.RawQuery != "" {
		if name := r.URL.Query().Get("dialect"); name != "" {
			return dialect.ByName(name)
		}
	}
	if d := f.dialectOfPageOrNil(r); d != nil {
		return d, nil
	}
	if d, ok := r.Context().Value(dialectKey{}).(dialect.Dialect); ok {
		return d, nil
	}
	return f.dialect, nil
}
