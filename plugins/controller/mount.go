package controller

import (
	"net/http"
	"strings"
	"time"

	"dormouse/plugins/access"
)

// Mount is a path outside of /Service/ that another part of the host serves, with all below
// it. The zero Mount is none.
type Mount struct {
	// Path begins with a slash and does not end in one, as "/qhana".
	Path string
	// Resource returns what answers a request, also one for what there is not, the role that a
	// client needs for it, and what the request is about.
	Resource func(*http.Request) (http.Handler, access.Role, access.Target)
	// RoleOf returns the role that a client has below Path at least.
	RoleOf func(access.Client) access.Role
}

// takes reports whether the path is the mount's or lies below it.
func (m Mount) takes(path string) bool {
	return m.Path != "" && (path == m.Path || strings.HasPrefix(path, m.Path+"/"))
}

// onlyKey is the key of the path that a listener is for, in the context of a request.
type onlyKey struct{}

// isOutsideListener reports whether the listener of the request serves other paths only.
func (f *Front) isOutsideListener(r *http.Request) bool {
	only, _ := r.Context().Value(onlyKey{}).(string)
	return only != "" && (only != f.options.Mount.Path || !f.options.Mount.takes(r.URL.Path))
}

// serveMount has the mount answer a request, if the client has the role for it, and answers the
// preflight requests of browsers. A client that takes a part of the answer has time for the
// next one.
func (f *Front) serveMount(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodOptions {
		w.Header().Set("Access-Control-Allow-Methods", "GET, HEAD, POST")
		w.Header().Set("Access-Control-Allow-Headers", allowedHeaders)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	from := caller{client: f.clientOf(r)}
	resource, needed, target := f.options.Mount.Resource(r)
	if f.options.Mount.RoleOf(from.client) < needed {
		if err := f.checkAccess(from, needed, target); err != nil {
			respondRefusal(w, err)
			return
		}
	}
	conn := http.NewResponseController(w)
	r.Body = &steadyBody{
		ReadCloser: http.MaxBytesReader(w, r.Body, f.limits.messageBytes),
		extend:     func() {},
		end:        func() { _ = conn.SetReadDeadline(time.Time{}) },
		stop:       func() { _ = conn.SetReadDeadline(time.Now()) },
	}
	resource.ServeHTTP(&steadyResponse{ResponseWriter: w, extend: func() { _ = conn.SetWriteDeadline(time.Now().Add(f.limits.writeTime)) }}, r)
	_ = conn.Flush()
	_ = conn.SetWriteDeadline(time.Time{})
}

// steadyResponse is a response that may take any time, as long as the client goes on to take
// it.
type steadyResponse struct {
	http.ResponseWriter
	extend func() // gives the client time for the next part
}

// WriteHeader sends the status.
func (s *steadyResponse) WriteHeader(status int) {
	s.extend()
	s.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the response.
func (s *steadyResponse) Write(part []byte) (int, error) {
	s.extend()
	return s.ResponseWriter.Write(part)
}

// Unwrap returns the response for an http.ResponseController.
func (s *steadyResponse) Unwrap() http.ResponseWriter { return s.ResponseWriter }
