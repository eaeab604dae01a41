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
// configuration, its public URL among them, and the host's own listen address.
func newBrowserGuard(h configs.Host) browserGuard {
	var g browserGuard
	for _, host := range append([]string{h.Listen}, h.AllowedHosts...) {
		g.hosts = append(g.hosts, lowerHostName(host))
	}
	for _, origin := range h.AllowedOrigins {
		g.origins = append(g.origins, strings.ToLower(origin))
	}
	if u, err := url.Parse(h.PublicURL); err == nil && u.Host != "" {
		g.hosts = append(g.hosts, strings.ToLower(u.Hostname()))
		g.origins = append(g.origins, strings.ToLower(u.Scheme+"://"+u.Host))
	}
	return g
}

// refusalReason returns why a request may not be served, empty if it may.
func (g browserGuard) refusalReason(r *http.Request) string {
	host := lowerHostName(r.Host)
	if cameOverUnixSocket(r) && !mayBeFromPage(r) {
		return "" // no page can connect there, and the name leads to no address
	}
	if host == "" || !configs.IsLoopback(host) && !slices.Contains(g.hosts, host) {
		return "the Host header names none of this host's names; see allowed-hosts in the configuration"
	}
	for _, origin := range r.Header["Origin"] {
		if isBrowserOrigin(origin) && !g.allowsOrigin(origin, r.Host) {
			return "pages of this origin may not call; see allowed-origins in the configuration"
		}
	}
	return ""
}

// cameOverUnixSocket reports whether the client of the request is connected to a unix
// socket, possibly as a proxy for others.
func cameOverUnixSocket(r *http.Request) bool {
	address, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	return ok && address.Network() == "unix"
}

// isBrowserOrigin reports whether a browser may have sent that header Origin: a scheme with
// a host, or "null". Thunder's C++ client sends an address alone, such as 0.0.0.0@0.
func isBrowserOrigin(origin string) bool {
	return strings.Contains(origin, "://") || strings.EqualFold(origin, "null")
}

// mayBeFromPage reports whether a web page may have caused the request: it has a browser's
// Origin, or a header that browsers alone send and pages can't change.
func mayBeFromPage(r *http.Request) bool {
	return slices.ContainsFunc(r.Header["Origin"], isBrowserOrigin) || r.Header.Get("Sec-Fetch-Site") != ""
}

// allowsOrigin reports whether pages of a browser's origin may call: the pages of the host
// that the Host header names, and those that the configuration allows.
func (g browserGuard) allowsOrigin(origin, hostHeader string) bool {
	return slices.Contains(g.origins, strings.ToLower(origin)) || isOwnOrigin(origin, hostHeader)
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

// mayReadBody reports whether the body of a POST may be read. A page may send the types of
// a form without a preflight request, so that from a page only application/json is read,
// or a body without a type. Thunder looks at no type, and its clients send any.
func mayReadBody(r *http.Request) bool {
	contentType := r.Header.Get("Content-Type")
	if contentType == "" || !mayBeFromPage(r) {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == "application/json"
}
