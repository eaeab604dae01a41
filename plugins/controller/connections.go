package controller

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"dormouse/plugins/access"
	"dormouse/plugins/peer"
)

// connections is the list of open connections to the front, HTTP and websockets
// alike. The zero value is ready.
type connections struct {
	beforeFirstRequest sync.WaitGroup // connections that have not brought a request yet

	mu     sync.Mutex
	last   uint64
	byConn map[net.Conn]*connection
}

// connection is one connection of a client.
type connection struct {
	id           uint64
	conn         net.Conn
	client       access.Client // as the kernel says, without what the client itself sent
	remote       string
	place        *peer.Place // among those for HTTP, nil if there was none
	share        *peer.Share // of the host's memory, until the connection is closed
	firstRequest func()      // ends the wait for the first request; may be called again

	mu     sync.Mutex
	state  string
	path   string    // of the last request
	active time.Time // when the client last sent something
	// shown is the client with the credentials of its last request, and grants what the
	// rules granted it then; empty before the first request.
	shown  access.Client
	grants string
}

// Uses of a connection, in Thunder's words.
const (
	usedForHTTP      = "WebServer"
	usedForWebsocket = "WebSocket"
)

// connectionRecord is a connection as clients see it.
type connectionRecord struct {
	Remote   string `json:"remote"`
	State    string `json:"state"`
	ID       uint64 `json:"id"`
	Activity bool   `json:"activity"`
	Name     string `json:"name,omitempty"`
}

// connectionKey is the key of the connection in the context of a request.
type connectionKey struct{}

// entrance is the places of clients that are connected over TCP, or the control socket.
type entrance struct{ connections, websockets peer.Places }

// entranceOf returns by which way a client is connected, and the limits there.
func (f *Front) entranceOf(c net.Conn) (*entrance, entranceLimits) {
	if c.LocalAddr().Network() == "unix" {
		return &f.control, f.limits.control
	}
	return &f.tcp, f.limits.tcp
}

// identifyAndAddConnection finds out which client has made a new connection, and adds the
// connection to the front's list and to the context of its requests. It closes the
// connection if there is no place for it. It is the ConnContext of an http.Server, which
// calls it before it reads from the connection.
func (f *Front) identifyAndAddConnection(ctx context.Context, c net.Conn) context.Context {
	client, err := peer.Identify(c)
	if err != nil {
		f.strangers.Warn().Err(err).Str("client", c.RemoteAddr().String()).Msg("a client is unknown")
	}
	one := f.connections.add(c, client)
	one.share = f.options.Memory.Join(client)
	entrance, limits := f.entranceOf(c)
	closeNow := func() { _ = peer.Socket(c).Close() } // TLS would wait to say goodbye
	if one.place, err = entrance.connections.Take(limits.connections, client, closeNow); err != nil {
		f.strangers.Warn().Err(err).Stringer("client", client).Msg("refused a connection")
		closeNow()
	}
	return context.WithValue(ctx, connectionKey{}, one)
}

// add adds a new connection of a client to the list.
func (cs *connections) add(c net.Conn, client access.Client) *connection {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	if cs.byConn == nil {
		cs.byConn = make(map[net.Conn]*connection)
	}
	cs.last++
	cs.beforeFirstRequest.Add(1)
	one := &connection{
		id: cs.last, conn: c, client: client, remote: cmp.Or(client.Address, client.String()), state: usedForHTTP, active: time.Now(),
		firstRequest: sync.OnceFunc(cs.beforeFirstRequest.Done),
	}
	cs.byConn[c] = one
	return one
}

// markOrRemove removes a connection that was closed. A connection that became a
// websocket is marked as one, and stays until removeIfWebsocket.
func (cs *connections) markOrRemove(c net.Conn, state http.ConnState) {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	one := cs.byConn[c]
	switch {
	case one == nil:
	case state == http.StateHijacked:
		one.place.Free()
		one.mu.Lock()
		defer one.mu.Unlock()
		one.state = usedForWebsocket
	case state == http.StateClosed:
		one.place.Free()
		one.share.Leave()
		one.firstRequest()
		delete(cs.byConn, c)
	}
}

// removeIfWebsocket removes the connection of a websocket that has ended. It does
// nothing if the upgrade failed: then the connection still belongs to the
// http.Server.
func (cs *connections) removeIfWebsocket(one *connection) {
	if one == nil {
		return
	}
	one.mu.Lock()
	hijacked := one.state == usedForWebsocket
	one.mu.Unlock()
	if hijacked {
		cs.mu.Lock()
		defer cs.mu.Unlock()
		one.share.Leave()
		delete(cs.byConn, one.conn)
	}
}

// connectionFromContext returns the connection of a request, nil if the request came
// through no http.Server.
func connectionFromContext(ctx context.Context) *connection {
	one, _ := ctx.Value(connectionKey{}).(*connection)
	return one
}

// beginRequest keeps the connection from being closed as idle, until end is called. A nil
// connection is ignored.
func (c *connection) beginRequest() (end func()) {
	if c == nil {
		return func() {}
	}
	c.place.Begin()
	return c.place.End
}

// shareOrNil returns what the client has of the host's memory, nil if there are no bounds.
func (c *connection) shareOrNil() *peer.Share {
	if c == nil {
		return nil
	}
	return c.share
}

// noteActivity records that the client sent something now, with the path if it was an
// HTTP request. A nil connection is ignored.
func (c *connection) noteActivity(path string) {
	if c == nil {
		return
	}
	c.firstRequest()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.active = time.Now()
	if path != "" {
		c.path = path
	}
}

// records lists the connections, oldest first. A connection counts as active if the
// client sent something within the time activeWithin.
func (cs *connections) records(activeWithin time.Duration) []connectionRecord {
	cs.mu.Lock()
	defer cs.mu.Unlock()
	all := []connectionRecord{}
	for _, one := range cs.byConn {
		one.mu.Lock()
		all = append(all, connectionRecord{
			Remote: thunderAddress(one.remote), State: one.state, ID: one.id,
			Activity: time.Since(one.active) < activeWithin, Name: one.path,
		})
		one.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b connectionRecord) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// thunderAddress returns an address as Thunder writes it, with "@" before the port.
func thunderAddress(address string) string {
	if i := strings.LastIndexByte(address, ':'); i >= 0 {
		return address[:i] + "@" + address[i+1:]
	}
	return address
}
