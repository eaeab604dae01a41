package communicator

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc/credentials"

	"dormouse/internal/http2room"
	"dormouse/plugins/access"
	"dormouse/plugins/peer"
)

// connectionList accepts or refuses the connections to one socket, and lists those that
// are open. gRPC uses it as transport credentials.
type connectionList struct {
	limits   peer.Limits
	places   peer.Places
	memory   *peer.Memory    // of messages, nil for no bounds
	room     *http2room.Room // of messages that arrive, nil for no bounds
	log      zerolog.Logger
	refusals zerolog.Logger // for what any client can cause; it drops most lines of many
	identify identifier
	tls      *tls.Config // nil if connections are not encrypted

	mu          sync.Mutex
	connections map[*connection]net.Conn // nil after closeAllAndRefuseNew
}

var _ credentials.TransportCredentials = (*connectionList)(nil)

// newConnectionList returns an empty list for so many connections, whose clients identify
// finds out. Connections are encrypted if config is not nil.
func newConnectionList(limits peer.Limits, log zerolog.Logger, identify identifier, config *tls.Config) *connectionList {
	return &connectionList{
		limits: limits, log: log, identify: identify, tls: config,
		refusals:    log.Sample(&zerolog.BurstSampler{Burst: 20, Period: time.Second}),
		connections: make(map[*connection]net.Conn),
	}
}

// connection is one client's connection and the calls on it that are under way.
type connection struct {
	credentials.CommonAuthInfo
	client access.Client
	place  *peer.Place
	memory messageMemory

	mu            sync.Mutex
	callsUnderWay map[calledService]int
	// grants is what the rules granted the client at its first call with each token, also
	// with none.
	grants map[access.TokenDigest]string
}

// AuthType returns the name of this way to authenticate a connection.
func (*connection) AuthType() string { return "dormouse" }

// ServerHandshake adds a new connection to the list, or logs why it is refused and
// closes it.
func (p *connectionList) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	c := &connection{callsUnderWay: make(map[calledService]int)}
	c.SecurityLevel = credentials.PrivacyAndIntegrity // it is encrypted, or does not leave the machine
	conn, err := p.identifyAndAdd(c, raw)
	if err != nil {
		c.place.Free()
		p.refusals.Warn().Err(err).Stringer("client", c.client).Msg("refused a native connection")
		return nil, nil, errors.Join(err, raw.Close())
	}
	if p.room != nil {
		conn = http2room.NewServerConn(conn, p.room)
	}
	return &listedConn{conn, sync.OnceFunc(func() { p.remove(c) })}, c, nil
}

// identifyAndAdd finds out which client has connected, gives the connection a place, and
// adds it to the list. It returns the connection as it is to be used, or an error if the
// client is not allowed, no place can be had, or closeAllAndRefuseNew was called.
func (p *connectionList) identifyAndAdd(c *connection, raw net.Conn) (conn net.Conn, err error) {
	if c.client, err = p.identify(raw); err != nil {
		return nil, err
	}
	giveWay := func() { _ = raw.Close() }
	if c.client.Plugin != "" {
		giveWay = nil // a plugin uses its connection for as long as it runs
	}
	if c.place, err = p.places.Take(p.limits, c.client, giveWay); err != nil {
		return nil, err
	}
	conn = raw
	if p.tls != nil {
		if conn, c.client.Certificate, err = encrypt(raw, p.tls); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.connections == nil {
		return nil, errEnding
	}
	p.connections[c] = raw
	c.memory.share = p.memory.Join(c.client)
	return conn, nil
}

// remove takes a closed connection off the list.
func (p *connectionList) remove(c *connection) {
	c.place.Free()
	c.memory.close()
	c.memory.share.Leave()
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

// closeChanged closes the connections whose clients may do something else now than they
// could, because the rules have changed.
func (p *connectionList) closeChanged(guard *access.Guard) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c, raw := range p.connections {
		if c.mayDoOtherThings(guard) {
			p.log.Warn().Stringer("client", c.client).Str("reason", "the rules for its access have changed").Msg("cut a native client off")
			_ = raw.Close() // the client may have closed it
		}
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
