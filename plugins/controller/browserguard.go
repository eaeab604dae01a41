package controller

import (
	"mime"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"

	"dormouse/configs"
)

// guard keeps web pages of others out: a page may open a connection to a
// loopback address, and with DNS rebinding even under its own name.
type guard struct {
	hosts   []string // lower case, besides loopback
	origins []string // lower case
}

func newGuard(h configs.Host) guard {
	var g guard
	for _, host := range append([]string{h.Listen}, h.AllowedHosts...) {
		g.hosts = append(g.hosts, hostName(host))
	}
	for _, origin := range h.AllowedOrigins {
		g.origins = append(g.origins, strings.ToLower(origin))
	}
	return g
}

// refuse says why a request may not be served, or nothing.
func (g guard) refuse(r *http.Request) string {
	host := hostName(r.Host)
	if host == "" || !isLoopback(host) && !slices.Contains(g.hosts, host) {
		return "the Host header names none of this host's names; see allowed-hosts in the configuration"
	}
	if origin := r.Header.Get("Origin"); origin != "" && !g.allows(origin, r.Host) {
		return "pages of this origin may not call; see allowed-origins in the configuration"
	}
	return ""
}

// allows tells whether pages of the origin may call: the host's own, and those
// that the configuration names.
func (g guard) allows(origin, host string) bool {
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

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return host == "localhost"
	}
	return addr.IsLoopback()
}

// isJSON tells whether a body may be read. What a form can send without asking
// first is refused; that nothing is said is what simple clients do.
func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	media, _, err := mime.ParseMediaType(contentType)
	return err == nil && media == "application/json"
}
