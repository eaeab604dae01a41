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

// gate decides who may connect, and knows who has. To gRPC it is how a
// connection is secured: by a socket that only some can reach.
type gate struct {
	most  int
	log   zerolog.Logger
	check func(unixsock.Peer) error // nil where the listener has seen to it

	mu          sync.Mutex
	connections map[*connection]net.Conn // nil once nobody is let in any more
}

var _ credentials.TransportCredentials = (*gate)(nil)

func newGate(most int, log zerolog.Logger, check func(unixsock.Peer) error) *gate {
	return &gate{most: most, log: log, check: check, connections: make(map[*connection]net.Conn)}
}

// connection is one client's, and what it has under way.
type connection struct {
	credentials.CommonAuthInfo
	origin string

	mu   sync.Mutex
	held map[holding]int
}

// AuthType is the name of this way to secure a connection.
func (*connection) AuthType() string { return "peer credentials" }

// ServerHandshake lets a client in or not.
func (g *gate) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c, err := g.admit(raw)
	if err != nil {
		g.log.Warn().Err(err).Msg("refused a native connection")
		return nil, nil, errors.Join(err, raw.Close())
	}
	return &admitted{raw, sync.OnceFunc(func() { g.leave(c) })}, c, nil
}

func (g *gate) admit(raw net.Conn) (*connection, error) {
	c := &connection{held: make(map[holding]int)}
	c.SecurityLevel = credentials.PrivacyAndIntegrity // it leaves the machine nowhere
	if g.check != nil {
		peer, err := unixsock.PeerOf(raw)
		if err == nil {
			err = g.check(peer)
		}
		if err != nil {
			return nil, err
		}
		c.origin = peer.String()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.connections == nil:
		return nil, errEnding
	case len(g.connections) >= g.most:
		return nil, fmt.Errorf("there are %d connections already", g.most)
	}
	g.connections[c] = raw
	return c, nil
}

func (g *gate) leave(c *connection) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.connections, c)
}

// shut lets nobody in any more and cuts every connection, also those that have
// not said a word yet, for which gRPC would wait.
func (g *gate) shut() {
	g.mu.Lock()
	connections := g.connections
	g.connections = nil
	g.mu.Unlock()
	for _, raw := range connections {
		_ = raw.Close() // the client may have closed it
	}
}

// ClientHandshake is no use of a gate.
func (g *gate) ClientHandshake(context.Context, string, net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.ErrUnsupported
}

// Info describes the gate to gRPC.
func (g *gate) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "local"}
}

// Clone returns the same gate: there is nothing in it that one user could change
// for another.
func (g *gate) Clone() credentials.TransportCredentials { return g }

// OverrideServerName is no use of a gate.
func (g *gate) OverrideServerName(string) error { return errors.ErrUnsupported }

// admitted leaves the gate's list when it is closed.
type admitted struct {
	net.Conn
	leave func()
}

func (a *admitted) Close() error {
	a.leave()
	return a.Conn.Close()
}
