package controller

import (
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coder/websocket"

	"dormouse/configs"
)

// Two versions of an unmodified page, the host's and an instance's, each speak their own
// dialect, and what does not come from a page speaks that of the listener.
func TestDialectOfPages(t *testing.T) {
	old := t.TempDir()
	write(t, filepath.Join(old, "index.html"), "<p>R4")
	write(t, filepath.Join(old, "bundle.js"), "js()")
	h := newHost(t, setup{
		host: configs.Host{Dialect: configs.DialectR4, WebUIDialect: configs.DialectR5},
		plugins: func(p *configs.Plugin) {
			if p.Callsign == "Plain" {
				p.WebUI, p.WebUIDialect = old, configs.DialectR4
			}
		},
	})
	h.server.URL = strings.Replace(h.server.URL, "127.0.0.1", "localhost", 1)
	const r4, r5 = `"code":-32603`, `"code":-31043`
	spoken := func(path, cookie string, headers ...string) string {
		t.Helper()
		all := append([]string{"Content-Type", "application/json", "Cookie", cookie}, headers...)
		_, code, _ := strings.Cut(h.request(t, http.MethodPost, path, call("Nope.1.x", ""), all...).body, `"error":{`)
		code, _, _ = strings.Cut(code, ",")
		return code
	}
	own := []string{"Origin", h.server.URL}
	for _, tt := range []struct {
		name, path, want string
		headers          []string
	}{
		{"no page", "/jsonrpc", r4, nil},
		{"Thunder's client", "/jsonrpc", r4, []string{"Origin", "0.0.0.0"}},
		{"own page", "/jsonrpc", r5, own},
		{"own page that reads", "/jsonrpc", r5, []string{"Sec-Fetch-Site", "same-origin"}},
		{"own page that asks", "/jsonrpc?dialect=r4", r4, own},
	} {
		if got := spoken(tt.path, "", tt.headers...); got != tt.want {
			t.Errorf("%s: got %s, want %s", tt.name, got, tt.want)
		}
	}

	open := func(path, cookie string) string {
		t.Helper()
		return h.request(t, http.MethodGet, path, "", "Cookie", cookie).header.Get("Set-Cookie")
	}
	if set := open("/Service/Controller/UI/", ""); set != "" {
		t.Errorf("the host's page sets the cookie %q", set)
	}
	if set := open("/Service/Plain/UI/bundle.js", ""); set != "" {
		t.Errorf("a script sets the cookie %q", set)
	}
	set := open("/Service/Plain/UI/", "")
	cookie, attributes, _ := strings.Cut(set, "; ")
	if attributes != "Path=/; HttpOnly; SameSite=Strict" {
		t.Errorf("the instance's page sets the cookie %q", set)
	}
	if got := spoken("/jsonrpc", cookie, own...); got != r4 {
		t.Errorf("the instance's page: got %s, want %s", got, r4)
	}
	if got := spoken("/jsonrpc", strings.Replace(cookie, "r4", "r9", 1), own...); got != r5 {
		t.Errorf("with another value: got %s, want %s", got, r5)
	}
	if set := open("/Service/Controller/UI/", cookie); !strings.Contains(set, "Max-Age=0") {
		t.Errorf("the host's page leaves the cookie: %q", set)
	}
	c, _, err := h.tryDial(t, "/jsonrpc", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": own[1:]}})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.do("Nope.1.x", ""); !strings.Contains(got, r5) {
		t.Errorf("on a websocket: got %s, want %s", got, r5)
	}
}
