package controller

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"dormouse/configs"
)

func (f *Front) routes() *http.ServeMux {
	mux := http.NewServeMux()
	for _, path := range []string{
		"/jsonrpc", "/jsonrpc/{$}", "/jsonrpc/{callsign}",
		"/Service", "/Service/{$}", "/Service/{callsign}",
	} {
		mux.HandleFunc(path, f.serveRPC)
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "ok")
	})
	return mux
}

// Server returns a server for the front that waits for no client for ever.
// After its Shutdown, Close ends the websockets.
// Whom it serves is spoken to in the dialect, unless a connection asks for
// another.
func (f *Front) Server(speaks configs.Dialect) *http.Server {
	var connections atomic.Int64
	return &http.Server{
		Handler:           f,
		ReadHeaderTimeout: f.limits.header,
		IdleTimeout:       f.limits.idle,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(f.log.With().Str("level", "warn").Logger(), "", 0),
		BaseContext: func(net.Listener) context.Context {
			return context.WithValue(f.ctx, dialectKey{}, dialectOf(speaks))
		},
		ConnContext: f.links.open,
		ConnState: func(c net.Conn, state http.ConnState) {
			f.links.changed(c, state)
			switch state {
			case http.StateNew:
				if connections.Add(1) > int64(f.limits.connections) {
					_ = c.Close()
				}
			case http.StateClosed, http.StateHijacked:
				connections.Add(-1)
			default:
			}
		},
	}
}

func (f *Front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !f.enter() {
		http.Error(w, "the host is ending", http.StatusServiceUnavailable)
		return
	}
	defer f.running.Done()
	linkOf(r.Context()).touch(r.URL.Path)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if why := f.guard.refuse(r); why != "" {
		http.Error(w, why, http.StatusForbidden)
		return
	}
	if origin := r.Header.Get("Origin"); origin != "" {
		w.Header().Set("Access-Control-Allow-Origin", origin)
		w.Header().Set("Vary", "Origin")
	}
	f.mux.ServeHTTP(w, r)
}

func (f *Front) serveRPC(w http.ResponseWriter, r *http.Request) {
	from := caller{callsign: r.PathValue("callsign")}
	known := from.callsign == ""
	if !known {
		_, known = f.supervisor.Shell(from.callsign)
	}
	switch {
	case r.Method == http.MethodGet && strings.EqualFold(r.Header.Get("Upgrade"), "websocket"):
		if !known {
			http.Error(w, "Could not find a correct service for this socket.", http.StatusServiceUnavailable)
			return
		}
		f.serveSocket(w, r, from.callsign)
	case !strings.HasPrefix(r.URL.Path, "/jsonrpc"), !known:
		http.NotFound(w, r)
	case r.Method == http.MethodOptions && r.Header.Get("Access-Control-Request-Method") != "":
		w.Header().Set("Access-Control-Allow-Methods", http.MethodPost)
		w.Header().Set("Access-Control-Allow-Headers", "Content-Type")
		w.WriteHeader(http.StatusNoContent)
	case r.Method != http.MethodPost:
		f.refuseMethod(w)
	case !isJSON(r.Header.Get("Content-Type")):
		http.Error(w, "JSON-RPC needs the header Content-Type: application/json", http.StatusUnsupportedMediaType)
	default:
		f.servePost(w, r, from)
	}
}

func (f *Front) servePost(w http.ResponseWriter, r *http.Request, from caller) {
	dialect, err := f.dialectFor(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	from.dialect = dialect
	conn := http.NewResponseController(w)
	_ = conn.SetReadDeadline(time.Now().Add(f.limits.body))
	message, err := io.ReadAll(http.MaxBytesReader(w, r.Body, f.limits.message))
	tooBig, isTooBig := errors.AsType[*http.MaxBytesError](err)
	switch {
	case isTooBig:
		http.Error(w, "the body has more than "+strconv.FormatInt(tooBig.Limit, 10)+" bytes", http.StatusRequestEntityTooLarge)
		return
	case err != nil:
		w.Header().Set("Connection", "close")
		http.Error(w, "the body could not be read", http.StatusBadRequest)
		return
	case len(message) == 0:
		f.refuseMethod(w)
		return
	}
	_ = conn.SetReadDeadline(time.Time{}) // the call may take longer

	answer := f.answer(r.Context(), from, message)
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	_ = conn.SetWriteDeadline(time.Now().Add(f.limits.write))
	if answer.body == nil {
		w.WriteHeader(http.StatusNoContent)
	} else {
		header.Set("Content-Type", "application/json")
		header.Set("Content-Length", strconv.Itoa(len(answer.body)))
		w.WriteHeader(answer.outcome.status(dialect))
		_, _ = w.Write(answer.body)
	}
	// Flushed here, since the next request on this connection has no deadline.
	_ = conn.Flush()
	_ = conn.SetWriteDeadline(time.Time{})
}

// status is the HTTP status of an answer.
func (o outcome) status(d dialect) int {
	switch o {
	case failed:
		return d.failureStatus()
	case malformed:
		return http.StatusBadRequest
	default:
		return http.StatusOK
	}
}

func (f *Front) refuseMethod(w http.ResponseWriter) {
	w.Header().Set("Allow", http.MethodPost)
	http.Error(w, "JSON-RPC only supported via POST request with a body", http.StatusMethodNotAllowed)
}
