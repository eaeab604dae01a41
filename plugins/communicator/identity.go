package communicator

import (
	"context"
	"crypto/tls"
	"net"
	"strings"

	"google.golang.org/grpc/metadata"
	grpcpeer "google.golang.org/grpc/peer"

	"dormouse/internal/unixsock"
	"dormouse/plugins/access"
	"dormouse/plugins/peer"
)

// identifier finds out which client is at the other end of a new connection. It returns an
// error if the client may not connect.
type identifier func(raw net.Conn) (access.Client, error)

// identifyNative identifies native clients of a unix socket, and lets root, the host's own
// user and the members of the group connect.
func identifyNative(group Group) identifier {
	return func(raw net.Conn) (access.Client, error) {
		process, err := unixsock.PeerOf(raw)
		if err == nil {
			err = group.checkMayConnect(process)
		}
		if err != nil {
			return access.Client{}, err
		}
		return peer.Identify(raw)
	}
}

// identifyPlugin identifies the connections to an instance's own host socket.
func identifyPlugin(callsign string) identifier {
	return func(net.Conn) (access.Client, error) { return access.Client{Plugin: callsign}, nil }
}

// identifyOverTCP identifies clients of a TCP socket: by their user if they are on this
// machine.
func identifyOverTCP(raw net.Conn) (access.Client, error) {
	client, err := peer.Identify(raw)
	if err != nil { // it may have a token
		client.User = nil
	}
	return client, nil
}

// encrypt returns the connection with TLS, and the common name in the client's
// certificate, empty if it has shown none.
func encrypt(raw net.Conn, config *tls.Config) (_ net.Conn, certificate string, err error) {
	conn := tls.Server(raw, config)
	if err := conn.HandshakeContext(context.Background()); err != nil { // gRPC has set a deadline on the connection
		return nil, "", err
	}
	if state := conn.ConnectionState(); len(state.VerifiedChains) > 0 {
		certificate = state.PeerCertificates[0].Subject.CommonName
	}
	return conn, certificate, nil
}

// authorizationKey is the key of the metadata in which a client sends its token, as
// "Bearer TOKEN".
const authorizationKey = "authorization"

// bearerToken returns the token in a value of the metadata authorization, empty if it is
// of another kind.
func bearerToken(value string) string {
	const bearer = "Bearer "
	if len(value) <= len(bearer) || !strings.EqualFold(value[:len(bearer)], bearer) {
		return ""
	}
	return strings.TrimSpace(value[len(bearer):])
}

// clientOfCall returns what the host knows of the client of a call: the client of its
// connection, and the token in the metadata. Without a listed connection it is a
// stranger.
func (c *Communicator) clientOfCall(ctx context.Context) access.Client {
	conn := connectionOfCall(ctx)
	if conn == nil {
		return access.Client{}
	}
	client := conn.client
	for _, value := range metadata.ValueFromIncomingContext(ctx, authorizationKey) {
		if token := bearerToken(value); token != "" {
			client.Token = access.DigestOf(token)
		}
	}
	conn.noteShown(client, c.Access)
	return client
}

// noteShown notes what the rules grant the client with what it has shown in a call.
func (c *connection) noteShown(client access.Client, guard *access.Guard) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.grants[client.Token]; known {
		return
	}
	if c.grants == nil || len(c.grants) >= maxTokensNoted {
		c.grants = make(map[access.TokenDigest]string)
	}
	c.grants[client.Token] = guard.Grants(client)
}

// maxTokensNoted bounds the tokens of one connection that are noted.
const maxTokensNoted = 32

// mayDoOtherThings reports whether the rules grant the client now something else than at
// a call on the connection.
func (c *connection) mayDoOtherThings(guard *access.Guard) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for token, granted := range c.grants {
		client := c.client
		client.Token = token
		if guard.Grants(client) != granted {
			return true
		}
	}
	return false
}

// connectionOfCall returns the listed connection of a call, nil if there is none.
func connectionOfCall(ctx context.Context) *connection {
	p, ok := grpcpeer.FromContext(ctx)
	if !ok {
		return nil
	}
	c, _ := p.AuthInfo.(*connection)
	return c
}
