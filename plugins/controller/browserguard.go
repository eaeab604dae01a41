package controller

import (
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"dormouse/configs"
)

// guard keeps web pages of others out: a page may open a connection to a
// loopback address, and with DNS rebinding even under its own name.
type browserGuard struct {
	hosts   []string // lower case, besides loopback
	origins []string // lower case
}

func newBrowserGuard(h configs.Host) browserGuard {
	var g browserGuard
	for _, host := range append([]string{h.Listen}, h.AllowedHosts...) {
		g.hosts = append(g.hosts, hostName(host))
	}
	for _, origin := range h.AllowedOrigins {
		g.origins = append(g.origins, strings.ToLower(origin))
	}
	return g
}

// refuse says why a request may not be served, or nothing.
func (g browserGuard) refusal(r *http.Request) string {
	host := hostName(r.Host)
	if host == "" || !configs.IsLoopback(host) && !slices.Contains(g.hosts, host) {
		return "the Host header names none of this host's names; see allowed-hosts in the configuration"
	}
	if origin := r.Header.Get("Origin"); origin != "" && !g.allowsOrigin(origin, r.Host) {
		return "pages of this origin may not call; see allowed-origins in the configuration"
	}
	return ""
}

// allows tells whether pages of the origin may call: the host's own, and those
// that the configuration names.
func (g browserGuard) allowsOrigin(origin, host string) bool {
	if slices.Contains(g.origins, strings.ToLower(origin)) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, host)
}

// hostName is the name in a host header or address, in lower case.
func hostName(hostPort string) string {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		host = strings.Trim(hostPort, "[]")
	}
	return strings.ToLower(host)
}

// isJSON tells whether a body may be read. What a form can send without asking
// first is refused; that nothing is said is what simple clients do.
func isJSONType(contentType string) bool {
	if contentType == "" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == "application/json"
}
