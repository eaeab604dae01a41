package web

import (
	"errors"
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"
	"unicode/utf8"

	"dormouse/shell/webpb"
)

// prefixHeader names what precedes the path that the plugin is asked for, so that it can make
// links from the root of the host.
const prefixHeader = "X-Forwarded-Prefix"

// connectionHeaders concern one connection alone, see RFC 9110, section 7.6.1.
var connectionHeaders = []string{
	"Connection", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authorization", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// requestHead returns the head of a request for the plugin, or an error that the client is told.
func (h Handler) requestHead(r *http.Request) (*webpb.RequestHead, error) {
	if !utf8.ValidString(h.Path) || !utf8.ValidString(r.URL.RawQuery) || !utf8.ValidString(r.Host) || !utf8.ValidString(r.Method) {
		return nil, errors.New("the address is not UTF-8")
	}
	head := &webpb.RequestHead{
		Method: r.Method, Path: h.Path, Query: r.URL.RawQuery, Host: r.Host,
		ContentLength: r.ContentLength, Callsign: h.Callsign,
	}
	if strings.Contains(r.RemoteAddr, ":") {
		head.Remote = r.RemoteAddr
	}
	left := dropped(r.Header)
	for name, values := range r.Header {
		if name == prefixHeader || left(name) || !utf8.ValidString(name) {
			continue
		}
		for _, value := range values {
			head.Headers = append(head.Headers, &webpb.Header{Name: name, Value: []byte(value)})
		}
	}
	if before, ok := strings.CutSuffix(r.URL.Path, h.Path); ok && utf8.ValidString(before) {
		head.Headers = append(head.Headers, &webpb.Header{Name: prefixHeader, Value: []byte(strings.TrimSuffix(before, "/"))})
	}
	return head, nil
}

// dropped reports of each header whether it concerns the connection of its message alone.
func dropped(h http.Header) func(name string) bool {
	own := slices.Clone(connectionHeaders)
	for _, list := range h["Connection"] {
		for name := range strings.SplitSeq(list, ",") {
			own = append(own, textproto.CanonicalMIMEHeaderKey(strings.TrimSpace(name)))
		}
	}
	return func(name string) bool { return slices.Contains(own, name) }
}

// copyHeaders sets the headers of the plugin's answer in the place of those that the host has
// set. The error wraps errBadHead.
func copyHeaders(to http.Header, headers []*webpb.Header) error {
	size, answer := 0, make(http.Header)
	for _, h := range headers {
		if size += len(h.GetName()) + len(h.GetValue()); size > maxHeaders {
			return fmt.Errorf("%w: its headers have more than %d bytes", errBadHead, maxHeaders)
		}
		answer.Add(h.GetName(), string(h.GetValue()))
	}
	left := dropped(answer)
	for name, values := range answer {
		if !left(name) && !strings.HasPrefix(name, "Access-Control-") {
			to[name] = values
		}
	}
	return nil
}
