package controller

import (
	"net"
	"net/http"
	"net/url"
	"strings"

	"dormouse/configs"
	"dormouse/plugins/controller/dialect"
)

// An unmodified page builds the URL of its websocket by itself, so that it can't ask for a
// dialect. It is told one by web-ui-dialect: what comes from the host's own origin speaks
// the dialect of the host's page, or the one in a cookie that an instance's page sets.

// dialectOfPageOrNil returns the dialect that the configuration names for the host's own
// web page that caused the request; nil if it names none, or no such page did.
func (f *Front) dialectOfPageOrNil(r *http.Request) dialect.Dialect {
	if !isFromOwnPage(r) {
		return nil
	}
	if cookie, err := r.Cookie(dialectCookieName(r)); err == nil {
		if d, err := dialect.ByName(cookie.Value); err == nil {
			return d
		}
	}
	if configured := f.options.Host.WebUIDialect; configured != "" {
		return dialect.ByNameOrR4(configured)
	}
	return nil
}

// isFromOwnPage reports whether a page of the host itself caused the request. A browser
// sends no Origin when a page reads from its own host.
func isFromOwnPage(r *http.Request) bool {
	return isOwnOrigin(r.Header.Get("Origin"), r.Host) || r.Header.Get("Sec-Fetch-Site") == "same-origin"
}

// isOwnOrigin reports whether the origin is that of the host that the Host header names.
func isOwnOrigin(origin, hostHeader string) bool {
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, hostHeader)
}

// noteDialectOfPage has the browser remember which dialect the page speaks that it opens,
// if the configuration of the instance names one; else the browser is to forget it.
func (f *Front) noteDialectOfPage(w http.ResponseWriter, r *http.Request, callsign string) {
	var configured configs.Dialect
	if sh, ok := f.supervisor.Shell(callsign); ok {
		configured = sh.Config().WebUIDialect
	}
	cookie := &http.Cookie{
		Name: dialectCookieName(r), Value: string(configured), Path: "/",
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil,
	}
	if configured == "" {
		if _, err := r.Cookie(cookie.Name); err != nil {
			return
		}
		cookie.MaxAge = -1
	}
	http.SetCookie(w, cookie)
}

// dialectCookieName returns the name of the cookie with the dialect of the page that was
// opened last. Browsers give a cookie to every port, so that the name has the port.
func dialectCookieName(r *http.Request) string {
	_, port, _ := net.SplitHostPort(r.Host)
	return "dormouse-dialect" + port
}
