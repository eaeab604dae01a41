package controller

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"dormouse/configs"
	"dormouse/plugins/access"
)

// mounted is a mount that answers with the length of the body. GET needs the role Read, all else
// Call; clients from 198.51.100.0/24 have the role Call there.
func mounted() Mount {
	count := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, err := io.Copy(io.Discard, r.Body)
		if err != nil {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		_, _ = fmt.Fprintf(w, "mounted %d", n)
	})
	return Mount{
		Path: "/qhana",
		Resource: func(r *http.Request) (http.Handler, access.Role, access.Target) {
			if r.Method == http.MethodGet {
				return count, access.Read, access.Target{Callsign: "Plain", Method: "get"}
			}
			return count, access.Call, access.Target{Callsign: "Plain", Method: "start"}
		},
		RoleOf: func(c access.Client) access.Role {
			address, err := netip.ParseAddrPort(c.Address)
			if err == nil && netip.MustParsePrefix("198.51.100.0/24").Contains(address.Addr()) {
				return access.Call
			}
			return access.None
		},
	}
}

// Below its path the mount answers, each client has the role that the mount gives it or a higher
// one of its own, and outside of the path the mount's role counts for nothing.
func TestMount(t *testing.T) {
	const public = "http://tv.example:9998"
	h := newGuardedHost(t, setup{
		host:    configs.Host{PublicURL: public, AllowedOrigins: []string{"http://ui.example"}},
		options: Options{Mount: mounted()},
	})
	peer := access.Client{Address: "198.51.100.7:4242"}
	for _, test := range []struct {
		name         string
		client       access.Client
		method, path string
		body         string
		headers      []string // names and values
		status       int
		answer       string
	}{
		{"the path itself", peer, "GET", "/qhana", "", nil, 200, "mounted 0"},
		{"below", peer, "POST", "/qhana/plugins/", "12345", nil, 200, "mounted 5"},
		{"another path", peer, "GET", "/qhanas", "", nil, 401, ""},
		{"outside", peer, "GET", "/metrics", "", nil, 401, ""},
		{"a call outside", peer, "POST", "/jsonrpc", call("Controller.1.status", ""), nil, 401, ""},
		{"a stranger", withRole(access.None), "GET", "/qhana", "", nil, 401, "needs the role read"},
		{"a reader", withRole(access.Read), "GET", "/qhana", "", nil, 200, "mounted"},
		{"a reader's change", withRole(access.Read), "POST", "/qhana", "", nil, 403, "start of Plain needs the role call"},
		{"the host of the public URL", peer, "GET", "/qhana", "", []string{"Host", "tv.example:9998"}, 200, "mounted"},
		{"another host", peer, "GET", "/qhana", "", []string{"Host", "evil.example"}, 403, "allowed-hosts"},
		{"a form of the host's page", peer, "POST", "/qhana", "a=b", []string{"Origin", public, "Content-Type", "application/x-www-form-urlencoded"}, 200, "mounted 3"},
		{"a page of an allowed origin", peer, "POST", "/qhana", "a=b", []string{"Origin", "http://ui.example"}, 200, "mounted 3"},
		{"a page of another origin", peer, "POST", "/qhana", "a=b", []string{"Origin", "http://evil.example"}, 403, "allowed-origins"},
		{"a browser that asks first", withRole(access.None), "OPTIONS", "/qhana/x", "", []string{"Origin", "http://ui.example"}, 204, ""},
		{"a body that is too long", peer, "POST", "/qhana", strings.Repeat("x", 1<<20+1), nil, 413, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := requestFor(t, test.method, test.path, test.body)
			for i := 0; i < len(test.headers); i += 2 {
				if test.headers[i] == "Host" {
					r.Host = test.headers[i+1]
				} else {
					r.Header.Set(test.headers[i], test.headers[i+1])
				}
			}
			answer := h.serveAs(test.client, r)
			if answer.Code != test.status || !strings.Contains(answer.Body.String(), test.answer) {
				t.Errorf("%d %s; want %d %s", answer.Code, answer.Body, test.status, test.answer)
			}
			allowed := answer.Header().Get("Access-Control-Allow-Origin")
			if origin := r.Header.Get("Origin"); allowed != origin && test.status != http.StatusForbidden {
				t.Errorf("a page of %q may read what pages of %q may", origin, allowed)
			}
			if test.method == "OPTIONS" && !strings.Contains(answer.Header().Get("Access-Control-Allow-Methods"), "POST") {
				t.Errorf("a browser may not POST: %v", answer.Header())
			}
		})
	}
}

// A listener for the mount alone serves nothing else, not even a health check.
func TestListenerForMount(t *testing.T) {
	h := newGuardedHost(t, setup{options: Options{Mount: mounted()}})
	only := httptest.NewUnstartedServer(nil)
	only.Config = h.NewServer(configs.Listener{Only: configs.OnlyQHAna})
	only.Start()
	t.Cleanup(only.Close)
	for path, want := range map[string]int{
		"/qhana": 200, "/qhana/x": 200, "/": 404, "/qhanas": 404, "/healthz": 404, "/metrics": 404,
		"/Service/Controller": 404, "/jsonrpc": 404, "/qhana/../metrics": 200, // the mount has what is below its path, however it is written
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, only.URL+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := only.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != want {
			t.Errorf("GET %s: %s, want %d", path, answer.Status, want)
		}
	}
}
