package controller

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dormouse/configs"
)

// Every file of the page and nothing besides it.
func TestPage(t *testing.T) {
	dir := t.TempDir()
	ui := filepath.Join(dir, "ui")
	for name, text := range map[string]string{
		"secret":             "secret",
		"ui/index.html":      "<p>page",
		"ui/bundle.js":       "js()",
		"ui/img/ml.svg":      "<svg/>",
		"ui/sub/index.html":  "<p>sub",
		"ui/odd name?.css":   "b{}",
		"ui/empty/.keep":     "",
		"ui/UI/deep.wasm":    "\x00asm",
		"ui/font.woff2":      "wOF2",
		"ui/percent%2e.json": "{}",
	} {
		write(t, filepath.Join(dir, name), text)
	}
	for link, target := range map[string]string{"out": "../secret", "in": "bundle.js", "up": ".."} {
		if err := os.Symlink(target, filepath.Join(ui, link)); err != nil {
			t.Fatal(err)
		}
	}
	if err := syscall.Mkfifo(filepath.Join(ui, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	h := newHost(t, setup{host: configs.Host{WebUI: ui}})
	for _, tt := range []struct{ path, want string }{
		{"/", "200 text/html; charset=utf-8 <p>page"},
		{"", "200 text/html; charset=utf-8 <p>page"}, // led to the slash
		{"/index.html", "200 text/html; charset=utf-8 <p>page"},
		{"/bundle.js", "200 text/javascript; charset=utf-8 js()"},
		{"/img/ml.svg", "200 image/svg+xml <svg/>"},
		{"/sub/", "200 text/html; charset=utf-8 <p>sub"},
		{"/odd%20name%3F.css", "200 text/css; charset=utf-8 b{}"},
		{"/percent%252e.json", "200 application/json {}"},
		{"/UI/deep.wasm", "200 application/wasm \x00asm"},
		{"/font.woff2", "200 font/woff2 wOF2"},
		{"/in", "200 text/plain; charset=utf-8 js()"},
		{"/UI/bundle.js", "404"},
		{"/sub", "404"},
		{"/empty/", "404"},
		{"/img/", "404"},
		{"/missing", "404"},
		{"/bundle.js/", "404"},
		{"/out", "404"},
		{"/up/secret", "404"},
		{"/pipe", "404"},
		{"/../../../secret", "404"},
		{"/%2e%2e/secret", "404"},
		{"/..%2fsecret", "404"},
		{"/%2fetc%2fpasswd", "404"},
		{"/..%5csecret", "404"},
		{"/bundle.js%00", "404"},
	} {
		a := h.request(t, "GET", "/Service/Controller/UI"+tt.path, "")
		got := fmt.Sprint(a.status)
		if a.status == 200 {
			got = fmt.Sprint(a.status, " ", a.header.Get("Content-Type"), " ", a.body)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.path, diff)
		}
	}
	if a := h.request(t, "PUT", "/Service/Controller/UI/index.html", "x"); a.status != 400 {
		t.Errorf("PUT: %d", a.status)
	}
}

func TestPageIsAskedForAgain(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "bundle.js"), "one")
	h := newHost(t, setup{host: configs.Host{WebUI: dir}})
	const path = "/Service/Controller/UI/bundle.js"
	first := h.request(t, "GET", path, "")
	tag := first.header.Get("ETag")
	if tag == "" || first.header.Get("Last-Modified") == "" {
		t.Fatalf("got %v", first.header)
	}
	if a := h.request(t, "GET", path, "", "If-None-Match", tag); a.status != 304 || a.body != "" {
		t.Errorf("unchanged: %d", a.status)
	}
	if a := h.request(t, "GET", path, "", "Range", "bytes=1-"); a.status != 206 || a.body != "ne" {
		t.Errorf("range: %d %q", a.status, a.body)
	}
	if a := h.request(t, "HEAD", path, ""); a.status != 200 || a.header.Get("Content-Length") != "3" {
		t.Errorf("HEAD: %d %v", a.status, a.header)
	}
	write(t, filepath.Join(dir, "bundle.js"), "three")
	if a := h.request(t, "GET", path, "", "If-None-Match", tag); a.status != 200 || a.body != "three" {
		t.Errorf("changed: %d %q", a.status, a.body)
	}
}

func TestRedirect(t *testing.T) {
	for _, target := range []string{"/Service/Controller/UI/", "https://ui.example/?a=b"} {
		h := newHost(t, setup{host: configs.Host{Redirect: target}})
		if got := h.redirected(t, "/"); got != "301 "+target {
			t.Errorf("got %s, want %s", got, target)
		}
	}
	h := newHost(t, setup{})
	for path, want := range map[string]string{
		"/Service/Controller/UI":         "301 /Service/Controller/UI/",
		"/Service/Controller/UI?ip=&p=1": "301 /Service/Controller/UI/?ip=&p=1",
		"//evil.example/..":              "307 /",
		"/Service//Controller/UI/":       "307 /Service/Controller/UI/",
	} {
		if got := h.redirected(t, path); got != want {
			t.Errorf("%s: got %s, want %s", path, got, want)
		}
	}
}

// redirected asks without following.
func (h *host) redirected(t *testing.T, path string) string {
	t.Helper()
	a := h.raw(t, "GET "+path+" HTTP/1.0\r\nHost: localhost\r\n\r\n")
	return fmt.Sprint(a.status, " ", a.header.Get("Location"))
}

func TestBuiltinPage(t *testing.T) {
	h := newHost(t, setup{host: configs.Host{Root: t.TempDir()}})
	for _, path := range []string{"/Service/Controller/UI/", "/Service/Controller/UI/index.html"} {
		a := h.request(t, "GET", path, "")
		policy := a.header.Get("Content-Security-Policy")
		for element, directive := range map[string]string{"script": "script-src", "style": "style-src"} {
			_, rest, _ := strings.Cut(a.body, "<"+element+">")
			inline, _, _ := strings.Cut(rest, "</"+element+">")
			sum := sha256.Sum256([]byte(inline))
			if want := directive + " 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "';"; len(inline) < 1000 || !strings.Contains(policy, want) {
				t.Errorf("%s: the policy %s does not allow the %s of %d bytes", path, policy, element, len(inline))
			}
		}
		if a.status != 200 || !strings.Contains(a.body, "<title>Dormouse</title>") || !strings.Contains(policy, "default-src 'none'; script-src 'sha256-") {
			t.Errorf("%s: %d, %s", path, a.status, policy)
		}
	}
	if a := h.request(t, "GET", "/Service/Controller/UI/bundle.js", ""); a.status != 404 {
		t.Errorf("got %d", a.status)
	}
}

// The page must work under its policy and without other servers, and must not turn
// text of plugins into markup.
func TestBuiltinPageKeepsItsPolicy(t *testing.T) {
	for _, element := range []string{"<script", "<style"} {
		if n := strings.Count(builtinPage, element); n != 1 {
			t.Errorf("%d of %s, but the policy names one", n, element)
		}
	}
	for _, never := range []string{"innerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://", " style=\"", " onclick=\""} {
		if strings.Contains(builtinPage, never) {
			t.Errorf("the page has %q", never)
		}
	}
}

// A plugin's page is there while the plugin is.
func TestPageOfPlugin(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "index.html"), "<p>tuner")
	h := newHost(t, setup{plugins: func(c *configs.Plugin) {
		if c.Callsign == "P" || c.Callsign == "org.test.Dotted" {
			c.WebUI = dir
		}
	}})
	get := func(path string) string {
		a := h.request(t, http.MethodGet, path, "")
		return fmt.Sprint(a.status, " ", strings.TrimSpace(a.body))
	}
	for _, step := range []struct{ do, path, want string }{
		{"", "/Service/org.test.Dotted/UI", "200 <p>tuner"},
		{"", "/Service/P/UI/", "410 The requested service is currently in the deactivated mode."},
		{"Activate", "/Service/P/UI/", "200 <p>tuner"},
		{"", "/Service/P/UI/none", "404 404 page not found"},
		{"Hibernate", "/Service/P/UI/", "410 The requested service is currently in the hibernated mode."},
		{"", "/Service/Plain/UI/", "404 404 page not found"},
		{"", "/Service/Nope/UI/", "404 There is no callsign: Nope"},
	} {
		if step.do == "Hibernate" {
			h.request(t, "PUT", "/Service/Controller/Suspend/P", "")
		}
		if step.do != "" {
			h.request(t, "PUT", "/Service/Controller/"+step.do+"/P", "")
		}
		if got := get(step.path); got != step.want {
			t.Errorf("%s: got %s, want %s", step.path, got, step.want)
		}
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
