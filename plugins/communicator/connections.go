package communicator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"

	"github.com/rs/zerolog"
	"google.golang.org/grpc/credentials"

	"dormouse/internal/unixsock"
)

// connectionList accepts or refuses the connections to one socket, and lists those that
// are open. gRPC uses it as transport credentials. They encrypt nothing: a unix socket
// does not leave the machine.
type connectionList struct {
	maxConnections int
	log            zerolog.Logger
	allow          func(unixsock.Peer) error // nil where every client of the socket may connect

	mu          sync.Mutex
	connections map[*connection]net.Conn // nil after closeAllAndRefuseNew
}

var _ credentials.TransportCredentials = (*connectionList)(nil)

// newConnectionList returns an empty list for at most maxConnections connections. allow
// decides which processes may connect; nil allows all.
func newConnectionList(maxConnections int, log zerolog.Logger, allow func(unixsock.Peer) error) *connectionList {
	return &connectionList{maxConnections: maxConnections, log: log, allow: allow, connections: make(map[*connection]net.Conn)}
}

// connection is one client's connection and the calls on it that are under way.
type connection struct {
	credentials.CommonAuthInfo
	// clientName is the client's process and user, empty on a plugin's own socket.
	clientName string

	mu            sync.Mutex
	callsUnderWay map[calledService]int
}

// AuthType returns the name of this way to authenticate a connection.
func (*connection) AuthType() string { return "peer credentials" }

// ServerHandshake adds a new connection to the list, or logs why it is refused and
// closes it.
func (p *connectionList) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, err := p.addIfAllowed(raw)
	if err != nil {
		p.log.Warn().Err(err).Msg("refused a native connection")
		return nil, nil, errors.Join(err, raw.Close())
	}
	return &listedConn{raw, sync.OnceFunc(func() { p.remove(c) })}, c, nil
}

// addIfAllowed adds the connection to the list. It returns an error if the client is
// not allowed, the list is full, or closeAllAndRefuseNew was called.
func (p *connectionList) addIfAllowed(raw net.Conn) (*connection, error) {
	c := &connection{callsUnderWay: make(map[calledService]int)}
	c.SecurityLevel = credentials.PrivacyAndIntegrity // a unix socket does not leave the machine
	if p.allow != nil {
		peer, err := unixsock.PeerOf(raw)
		if err == nil {
			err = p.allow(peer)
		}
		if err != nil {
			return nil, err
		}
		c.clientName = peer.String()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.connections == nil:
		return nil, errEnding
	case len(p.connections) >= p.maxConnections:
		return nil, fmt.Errorf("there are %d connections already", p.maxConnections)
	}
	p.connections[c] = raw
	return c, nil
}

// remove takes a closed connection off the list.
func (p *connectionList) remove(c *connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.connections, c)
}

// closeAllAndRefuseNew closes every connection, and lets ServerHandshake refuse new ones.
// gRPC itself would wait for connections that have sent nothing yet.
func (p *connectionList) closeAllAndRefuseNew() {
	p.mu.Lock()
	connections := p.connections
	p.connections = nil
	p.mu.Unlock()
	for _, raw := range connections {
		_ = raw.Close() // the client may have closed it
	}
}

// ClientHandshake is not supported: the list is for servers only.
func (p *connectionList) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.ErrUnsupported
}

// Info describes the credentials to gRPC.
func (p *connectionList) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "local"}
}

// Clone returns the same list, because gRPC changes nothing in it.
func (p *connectionList) Clone() credentials.TransportCredentials { return p }

// OverrideServerName is not supported.
func (p *connectionList) OverrideServerName(string) error { return errors.ErrUnsupported }

// listedConn is a connection that is removed from the list when it is closed.
type listedConn struct {
	net.Conn
	remove func()
}

// Close removes the connection from the list and closes it.
func (a *listedConn) Close() error {
	a.remove()
	return a.Conn.Close()
}
