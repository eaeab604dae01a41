package qhana

import (
	"net/http"
	"net/url"
	"strings"
)

// address returns an address below base, each part of it escaped. It ends in a slash.
func address(base string, parts ...string) string {
	for _, part := range parts {
		base += "/" + url.PathEscape(part)
	}
	return base + "/"
}

// pluginAddress returns the address of a plugin, or of a resource of it.
func (q *QHAna) pluginAddress(identifier string, parts ...string) string {
	return address(q.base, append([]string{"plugins", identifier}, parts...)...)
}

// TaskAddress returns the address of a task, which others know it by unless they have spelled it
// otherwise.
func (q *QHAna) TaskAddress(task string) string { return q.taskAddress(task) }

// taskAddress returns the address of a task, or of a resource of it.
func (q *QHAna) taskAddress(task string, parts ...string) string {
	return address(q.base, append([]string{"tasks", task}, parts...)...)
}

// webAddress returns the address that href stands for, which is absolute or a path below the Web
// of the instance.
func (q *QHAna) webAddress(callsign, href string) string {
	if isAbsolute(href) {
		return href
	}
	return q.base + "/web/" + url.PathEscape(callsign) + "/" + strings.TrimPrefix(href, "/")
}

// isAbsolute reports whether the address has a scheme and a host.
func isAbsolute(href string) bool {
	u, err := url.Parse(href)
	return err == nil && u.Scheme != "" && u.Host != ""
}

// spelledBase returns base as the client of the request spells it: under a name of its own, of
// those that the host allows.
func (q *QHAna) spelledBase(r *http.Request) string {
	if public, err := url.Parse(q.base); err == nil && strings.EqualFold(public.Host, r.Host) || r.Host == "" {
		return q.base
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	return scheme + "://" + r.Host + Path
}

// withCallback returns the address with the query parameter callback, unless that is empty.
func withCallback(address, callback string) string {
	if callback == "" {
		return address
	}
	return address + "?" + url.Values{"callback": {callback}}.Encode()
}
