package controller

import (
	"net/http"
	"strings"

	"dormouse/plugins/access"
)

// bearer begins the header Authorization that has a token, see RFC 6750.
const bearer = "Bearer "

// withCredentials returns the client with what its request shows: a token, in the header
// Authorization or for a websocket in the URL, and the certificate that it proved to have.
func withCredentials(client access.Client, r *http.Request) access.Client {
	if token := tokenOfRequest(r); token != "" {
		client.Token = access.DigestOf(token)
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		client.Certificate = r.TLS.PeerCertificates[0].Subject.CommonName
	}
	return client
}

// tokenOfRequest returns the token that a request has, empty without one. A token in the
// URL counts for a websocket only, whose clients often can't set a header: other URLs end
// up in logs and histories.
func tokenOfRequest(r *http.Request) string {
	if header := r.Header.Get("Authorization"); len(header) > len(bearer) && strings.EqualFold(header[:len(bearer)], bearer) {
		return strings.TrimSpace(header[len(bearer):])
	}
	if isWebsocketUpgrade(r) {
		return r.URL.Query().Get("token")
	}
	return ""
}
