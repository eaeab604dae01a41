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

// browserGuard refuses requests of foreign web pages. A page can open a connection
// to a loopback address, and with DNS rebinding even under its own host name.
type browserGuard struct {
	hosts   []string // allowed names in the Host header, in lower case; loopback names always are
	origins []string // allowed web origins, in lower case
}

// newBrowserGuard returns a guard that allows the names and origins in the host's
// configuration, and the host's own listen address.
func newBrowserGuard(h configs.Host) browserGuard {
	var g browserGuard
	for _, host := range append([]string{h.Listen}, h.AllowedHosts...) {
		g.hosts = append(g.hosts, lowerHostName(host))
	}
	for _, origin := range h.AllowedOrigins {
		g.origins = append(g.origins, strings.ToLower(origin))
	}
	return g
}

// refusalReason returns why a request may not be served, empty if it may.
func (g browserGuard) refusalReason(r *http.Request) string {
	host := lowerHostName(r.Host)
	if host == "" || !configs.IsLoopback(host) && !slices.Contains(g.hosts, host) {
		return "the Host header names none of this host's names; see allowed-hosts in the configuration"
	}
	if origin := r.Header.Get("Origin"); origin != "" && !g.allowsOrigin(origin, r.Host) {
		return "pages of this origin may not call; see allowed-origins in the configuration"
	}
	return ""
}

// allowsOrigin reports whether pages of the origin may call: the pages of the host that
// the Host header names, and those that the configuration allows.
func (g browserGuard) allowsOrigin(origin, hostHeader string) bool {
	if slices.Contains(g.origins, strings.ToLower(origin)) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, hostHeader)
}

// lowerHostName returns the host, without port and brackets, of a Host header or an address,
// in lower case.
func lowerHostName(hostPort string) string {
	host, _, err := net.SplitHostPort(hostPort)
	if err != nil {
		host = strings.Trim(hostPort, "[]")
	}
	return strings.ToLower(host)
}

// isJSONOrNoType reports whether a body of that Content-Type may be read: application/json,
// or no type, as simple clients send it. A page may send the types of a form without a
// preflight request, so these are refused.
func isJSONOrNoType(contentType string) bool {
	if contentType == "" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == "application/json"
}
