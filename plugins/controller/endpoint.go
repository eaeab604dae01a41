package controller

import (
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"dormouse/plugins/access"
	"dormouse/shell"
)

// endpointOf returns the instance's own answer to a request below /Service/<Callsign>/; false
// if the instance has none for that path.
func (f *Front) endpointOf(r *http.Request) (*shell.Shell, shell.Endpoint, bool) {
	below, ok := strings.CutPrefix(r.URL.Path, "/Service/")
	callsign, path, deeper := strings.Cut(below, "/")
	if !ok || !deeper || f.supervisor == nil {
		return nil, shell.Endpoint{}, false
	}
	sh, there := f.supervisor.Shell(callsign)
	if !there {
		return nil, shell.Endpoint{}, false
	}
	endpoint, ok := sh.Endpoint(r.Method, path)
	return sh, endpoint, ok
}

// serveEndpoint lets the instance answer a request, if the client may call the method that the
// endpoint needs. As long as the client goes on to send the body, and to take the answer, no time
// limit ends the request. What the endpoint says of caching and framing counts.
func (f *Front) serveEndpoint(w http.ResponseWriter, r *http.Request, from caller, sh *shell.Shell, e shell.Endpoint) {
	w.Header().Set("Cache-Control", "no-store")
	w.Header().Set("Content-Security-Policy", framePolicy)
	role, target := f.neededForInstance(sh, shell.Call{Method: e.Needs})
	if err := f.checkAccess(from, role, target); err != nil {
		respondRefusal(w, err)
		return
	}
	if !e.Waits && !sh.State().TakesCalls() { // a part of the host, which starts or stops
		setRetryAfter(w)
		http.Error(w, sh.Callsign()+" is not ready; try again", http.StatusServiceUnavailable)
		return
	}
	if mayRead := mayReadAnyBody(r) || e.TakesForms && isFromOwnPage(r); r.ContentLength != 0 && !mayRead {
		const why = "a body from a web page needs a header Content-Type that is not a form's, such as application/octet-stream"
		f.audit.LogRejected(r.RemoteAddr, why)
		http.Error(w, why, http.StatusUnsupportedMediaType)
		return
	}
	if r.ContentLength > e.MaxBody {
		w.Header().Set("Connection", "close")
		http.Error(w, "the body has more than "+strconv.FormatInt(e.MaxBody, 10)+" bytes", http.StatusRequestEntityTooLarge)
		return
	}
	if access.IsToken(tokenOfRequest(r)) {
		r.Header.Del("Authorization") // plugins must not learn it
	}
	conn := http.NewResponseController(w)
	r.Body = &steadyBody{
		ReadCloser: http.MaxBytesReader(w, r.Body, e.MaxBody),
		extend:     func() { _ = conn.SetReadDeadline(time.Now().Add(f.limits.bodyTime)) },
		end:        func() { _ = conn.SetReadDeadline(time.Time{}) },
		stop:       func() { _ = conn.SetReadDeadline(time.Now()) },
	}
	steady := &steadyResponse{ResponseWriter: w, extend: func() { _ = conn.SetWriteDeadline(time.Now().Add(f.limits.writeTime)) }}
	answer := &lateDeadline{ResponseWriter: steady, start: func() func() { return f.startWriteDeadline(w) }}
	defer func() { // also if the answer is broken off
		f.audit.LogChange(from.client, role, []access.Target{target}, auditedStatus(answer.status))
	}()
	e.ServeHTTP(answer, r)
	answer.finish()
}

// respondNoEndpoint answers a request for which an instance that has endpoints has none: 405 if
// the path takes other HTTP methods, else 404.
func (f *Front) respondNoEndpoint(w http.ResponseWriter, sh *shell.Shell, path string) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodDelete} {
		if _, ok := sh.Endpoint(method, path); ok {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		http.Error(w, fmt.Sprintf("%s has nothing at %q", sh.Callsign(), path), http.StatusNotFound)
		return
	}
	w.Header().Set("Allow", strings.Join(allowed, ", "))
	http.Error(w, fmt.Sprintf("%q of %s takes only %s", path, sh.Callsign(), strings.Join(allowed, ", ")), http.StatusMethodNotAllowed)
}

// setRetryAfter tells the client when to try again.
func setRetryAfter(w http.ResponseWriter) {
	w.Header().Set("Retry-After", strconv.Itoa(int(shell.RetryAfter.Seconds())))
}

// auditedStatus returns the result of a request for the audit: "done", or the HTTP status.
func auditedStatus(status int) string {
	if status < http.StatusBadRequest {
		return "done"
	}
	return "HTTP " + strconv.Itoa(status)
}

// mayReadAnyBody reports whether the body of a request may be read: no page sent it, or a
// browser has asked the host first, as it does for a type that no form has.
func mayReadAnyBody(r *http.Request) bool {
	if !mayBeFromPage(r) {
		return true
	}
	media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	return err == nil && !slices.Contains([]string{"text/plain", "multipart/form-data", "application/x-www-form-urlencoded"}, media)
}

// steadyBody is a request's body that may take any time, as long as the client goes on to
// send it. Close makes a Read that waits return.
type steadyBody struct {
	io.ReadCloser
	extend func() // gives the client time for the next part
	end    func() // takes the time limit away
	stop   func() // ends the client's time

	mu     sync.Mutex
	closed bool
}

// Read reads the next part.
func (b *steadyBody) Read(into []byte) (int, error) {
	if !b.doUnlessClosed(b.extend) {
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.ReadCloser.Read(into)
	if err != nil {
		b.doUnlessClosed(b.end)
	}
	return n, err
}

// Close gives up what has not been read of the body.
func (b *steadyBody) Close() error {
	b.doUnlessClosed(func() {
		b.closed = true
		b.stop()
	})
	return nil
}

// doUnlessClosed calls work and returns true, or false if the body is closed.
func (b *steadyBody) doUnlessClosed(work func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	work()
	return true
}

// lateDeadline is a response for which the client's time begins with the status.
type lateDeadline struct {
	http.ResponseWriter
	start  func() (flushAndClear func())
	clear  func() // nil before the status
	status int
}

// WriteHeader sends the status.
func (d *lateDeadline) WriteHeader(status int) {
	if d.clear == nil {
		d.clear, d.status = d.start(), status
	}
	d.ResponseWriter.WriteHeader(status)
}

// Write sends a part of the response, after the status 200 if there is none yet.
func (d *lateDeadline) Write(part []byte) (int, error) {
	if d.clear == nil {
		d.WriteHeader(http.StatusOK)
	}
	return d.ResponseWriter.Write(part)
}

// Unwrap returns the response for an http.ResponseController.
func (d *lateDeadline) Unwrap() http.ResponseWriter { return d.ResponseWriter }

// finish sends the rest of the response, or the status 200 if the handler sent nothing.
func (d *lateDeadline) finish() {
	if d.clear == nil {
		d.WriteHeader(http.StatusOK)
	}
	d.clear()
}
