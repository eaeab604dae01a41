package controller

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"dormouse/plugins/access"
	"dormouse/plugins/peer"
	"dormouse/shell"
)

// The length of a body is answered by the instance below its own path, for clients that may
// call the method which the endpoint needs.
func TestEndpoint(t *testing.T) {
	h := newGuardedHost(t, setup{})
	const path = "/Service/Inside/length/of"
	for _, test := range []struct {
		name         string
		role         access.Role
		method, path string
		body         string
		headers      []string // names and values
		status       int
		answer       string
	}{
		{"a short body", access.Operate, http.MethodPost, path, "12345", nil, 202, "5"},
		{"no body", access.Operate, http.MethodPost, path, "", nil, 202, "0"},
		{"a body longer than a message", access.Operate, http.MethodPost, path, strings.Repeat("x", 3<<20), nil, 202, fmt.Sprint(3 << 20)},
		{"a body that is too long", access.Operate, http.MethodPost, path, strings.Repeat("x", 4<<20+1), nil, 413, "more than 4194304 bytes"},
		{"a body that becomes too long", access.Operate, http.MethodPost, path, strings.Repeat("x", 4<<20+1), []string{"Transfer-Encoding", "chunked"}, 413, "too large"},
		{"a role that is too low", access.Call, http.MethodPost, path, "1", nil, 403, "echo of Inside needs the role operate"},
		{"no role", access.None, http.MethodPost, path, "1", nil, 401, ""},
		{"a page that a browser has asked for", access.Operate, http.MethodPost, path, "1", []string{"Sec-Fetch-Site", "same-origin", "Content-Type", "application/octet-stream"}, 202, "1"},
		{"a form of a page", access.Operate, http.MethodPost, path, "1", []string{"Sec-Fetch-Site", "same-site", "Content-Type", "text/plain"}, 415, "Content-Type"},
		{"a body without a type of a page", access.Operate, http.MethodPost, path, "1", []string{"Sec-Fetch-Site", "same-site"}, 415, "Content-Type"},
		{"a page of another origin", access.Operate, http.MethodPost, path, "1", []string{"Origin", "http://example.com", "Content-Type", "application/octet-stream"}, 403, "allowed-origins"},
		{"another HTTP method", access.Operate, http.MethodPut, path, "1", nil, 405, "takes only POST"},
		{"another path", access.Operate, http.MethodPost, path + "/", "1", nil, 404, "has nothing at"},
		{"a plugin without endpoints", access.Operate, http.MethodPost, "/Service/Plain/length/of", "1", nil, 503, "not loaded"},
		{"no such instance", access.Operate, http.MethodPost, "/Service/None/length/of", "1", nil, 404, "no callsign: None"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := requestFor(t, test.method, test.path, test.body)
			for i := 0; i < len(test.headers); i += 2 {
				r.Header.Set(test.headers[i], test.headers[i+1])
			}
			if r.Header.Get("Transfer-Encoding") != "" {
				r.ContentLength = -1
			}
			answer := h.serveAs(withRole(test.role), r)
			if answer.Code != test.status || !strings.Contains(answer.Body.String(), test.answer) {
				t.Errorf("%d %s; want %d %s", answer.Code, answer.Body, test.status, test.answer)
			}
		})
	}
}

// A path of an endpoint names the HTTP methods that it takes, and asks to be tried again while
// its instance is not active.
func TestEndpointNotServing(t *testing.T) {
	h := newGuardedHost(t, setup{})
	post := func(method string) (status int, allow, retryAfter string) {
		answer := h.serveAs(withRole(access.Operate), requestFor(t, method, "/Service/Inside/length/of", ""))
		return answer.Code, answer.Header().Get("Allow"), answer.Header().Get("Retry-After")
	}
	if status, allow, _ := post(http.MethodPut); status != http.StatusMethodNotAllowed || allow != "POST" {
		t.Errorf("PUT: %d, allowed %q", status, allow)
	}
	sh, _ := h.supervisor.Shell("Inside")
	if err := sh.Deactivate(t.Context(), shell.Requested); err != nil {
		t.Fatal(err)
	}
	if status, _, after := post(http.MethodPost); status != http.StatusServiceUnavailable || after != "1" {
		t.Errorf("POST to what is down: %d, try again after %q", status, after)
	}
}

// A body of which little is in memory at once may be longer than the client's share.
func TestEndpointBeyondTheShare(t *testing.T) {
	mayAll := func(sh *shell.Shell, _ shell.Call) (access.Role, access.Target) {
		return access.Read, access.Target{Callsign: sh.Callsign()}
	}
	h := newHost(t, setup{options: Options{Memory: peer.NewMemory(1<<20, 1<<20), BuiltinAccess: mayAll}})
	if status, answer := h.post(t, "/Service/Inside/length/of", strings.Repeat("x", 2<<20)); status != http.StatusAccepted || answer != fmt.Sprint(2<<20) {
		t.Errorf("%d %s", status, answer)
	}
}

// The time limit for a body begins anew with each part, and is gone after the last.
func TestSteadyBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 10 * time.Second
		reader, writer := io.Pipe()
		late := time.AfterFunc(limit, func() { _ = reader.CloseWithError(io.ErrNoProgress) })
		body := &steadyBody{ReadCloser: reader, extend: func() { late.Reset(limit) }, end: func() { late.Stop() }}
		go func() {
			for range 5 {
				<-time.After(limit - time.Second)
				_, _ = writer.Write([]byte("x"))
			}
			_ = writer.Close()
		}()
		if got, err := io.ReadAll(body); string(got) != "xxxxx" || err != nil {
			t.Errorf("a slow body: %q, %v", got, err)
		}
		<-time.After(2 * limit)
		if late.Stop() {
			t.Error("the time limit runs on after the body")
		}
	})
}
