package controller

import (
	"net/http"
	"strings"

	"dormouse/plugins/access"
)

// bearer begins the header Authorization that has a token, see RFC 6750.
const bearer = "Bearer "

// clientOf returns what the host knows of the client that sent a request: a stranger if
// the request came through no http.Server.
func (f *Front) clientOf(r *http.Request) access.Client {
	c := connectionFromContext(r.Context())
	if c == nil {
		return access.Client{Address: r.RemoteAddr}
	}
	shown := withCredentials(c.client, r)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.grants == "" || shown.Token != c.shown.Token || shown.Certificate != c.shown.Certificate {
		c.shown, c.grants = shown, f.access.Grants(shown)
	}
	return shown
}

// endChangedConnections ends the connections whose clients may do something else now than
// when they connected, because the rules have changed.
func (f *Front) endChangedConnections() {
	f.mu.Lock()
	defer f.mu.Unlock()
	websockets := make(map[*connection]*socket, len(f.sockets))
	for s := range f.sockets {
		websockets[s.connection] = s
	}
	for _, c := range f.connections.changed(f.access) {
		if s := websockets[c]; s != nil {
			s.cutOff("the rules for its access have changed")
		} else {
			_ = c.conn.Close() // the client may have closed it
		}
	}
}

// changed returns the connections whose clients may do something else now than when they
// sent their last request.
func (cs *connections) changed(guard *access.Guard) (changed []*connection) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	for _, c := range cs.byConn {
		c.mu.Lock()
		if c.grants != "" && c.grants != guard.Grants(c.shown) {
			changed = append(changed, c)
		}
		c.mu.Unlock()
	}
	return changed
}

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
