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

// peers decides which clients may connect to a socket, and lists their connections.
// gRPC uses peers as transport credentials. They encrypt nothing: a unix socket does
// not leave the machine.
type peers struct {
	maxConnections int
	log            zerolog.Logger
	allow          func(unixsock.Peer) error // nil where every client of the socket may connect

	mu          sync.Mutex
	connections map[*connection]net.Conn // nil after closeAll
}

var _ credentials.TransportCredentials = (*peers)(nil)

func newPeers(maxConnections int, log zerolog.Logger, allow func(unixsock.Peer) error) *peers {
	return &peers{maxConnections: maxConnections, log: log, allow: allow, connections: make(map[*connection]net.Conn)}
}

// connection is one client's connection and the calls on it that are under way.
type connection struct {
	credentials.CommonAuthInfo
	clientName string

	mu            sync.Mutex
	callsUnderWay map[calledService]int
}

// AuthType returns the name of this way to secure a connection.
func (*connection) AuthType() string { return "peer credentials" }

// ServerHandshake accepts or refuses a new connection.
func (p *peers) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, err := p.addIfAllowed(raw)
	if err != nil {
		p.log.Warn().Err(err).Msg("refused a native connection")
		return nil, nil, errors.Join(err, raw.Close())
	}
	return &listedConn{raw, sync.OnceFunc(func() { p.remove(c) })}, c, nil
}

// addIfAllowed adds the connection to the list, if its client is allowed and there is
// room.
func (p *peers) addIfAllowed(raw net.Conn) (*connection, error) {
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
func (p *peers) remove(c *connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.connections, c)
}

// closeAll closes every connection and refuses new ones. gRPC itself would wait for
// connections that have sent nothing yet.
func (p *peers) closeAll() {
	p.mu.Lock()
	connections := p.connections
	p.connections = nil
	p.mu.Unlock()
	for _, raw := range connections {
		_ = raw.Close() // the client may have closed it
	}
}

// ClientHandshake is not supported: peers serves servers only.
func (p *peers) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.ErrUnsupported
}

// Info describes the credentials to gRPC.
func (p *peers) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "local"}
}

// Clone returns the same peers: gRPC changes nothing in it.
func (p *peers) Clone() credentials.TransportCredentials { return p }

// OverrideServerName is not supported.
func (p *peers) OverrideServerName(string) error { return errors.ErrUnsupported }

// listedConn is a connection that leaves the list of peers when it is closed.
type listedConn struct {
	net.Conn
	remove func()
}

func (a *listedConn) Close() error {
	a.remove()
	return a.Conn.Close()
}
