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

	"dormouse/plugins/thunder"
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
	remote       string
	firstRequest func() // says that the first request has come; may be called again

	mu     sync.Mutex
	state  string
	path   string    // of the last request
	active time.Time // when the client last sent something
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

// track adds a new connection, and puts it into the context of its requests. It is
// an http.Server's ConnContext.
func (l *connections) track(ctx context.Context, c net.Conn) context.Context {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byConn == nil {
		l.byConn = make(map[net.Conn]*connection)
	}
	l.last++
	l.beforeFirstRequest.Add(1)
	one := &connection{
		id: l.last, conn: c, remote: c.RemoteAddr().String(), state: usedForHTTP, active: time.Now(),
		firstRequest: sync.OnceFunc(l.beforeFirstRequest.Done),
	}
	l.byConn[c] = one
	return context.WithValue(ctx, connectionKey{}, one)
}

// stateChanged removes a connection that was closed. A connection that becomes a
// websocket stays until dropWebsocket.
func (l *connections) stateChanged(c net.Conn, state http.ConnState) {
	l.mu.Lock()
	defer l.mu.Unlock()
	one := l.byConn[c]
	switch {
	case one == nil:
	case state == http.StateHijacked:
		one.mu.Lock()
		defer one.mu.Unlock()
		one.state = usedForWebsocket
	case state == http.StateClosed:
		one.firstRequest()
		delete(l.byConn, c)
	}
}

// dropWebsocket removes the connection of a websocket that has ended. It does
// nothing if the upgrade failed: then the connection still belongs to the
// http.Server.
func (l *connections) dropWebsocket(one *connection) {
	if one == nil {
		return
	}
	one.mu.Lock()
	hijacked := one.state == usedForWebsocket
	one.mu.Unlock()
	if hijacked {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.byConn, one.conn)
	}
}

// connectionOf returns the connection of a request, nil if it came through no
// Server.
func connectionOf(ctx context.Context) *connection {
	one, _ := ctx.Value(connectionKey{}).(*connection)
	return one
}

// noteActivity records that the client sent something, with the path if it was an
// HTTP request.
func (l *connection) noteActivity(path string) {
	if l == nil {
		return
	}
	l.firstRequest()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.active = time.Now()
	if path != "" {
		l.path = path
	}
}

// records lists the connections, oldest first. A connection counts as active if the
// client sent something within the time quiet.
func (l *connections) records(quiet time.Duration) []connectionRecord {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := []connectionRecord{}
	for _, one := range l.byConn {
		one.mu.Lock()
		all = append(all, connectionRecord{
			Remote: hostAtPort(one.remote), State: one.state, ID: one.id,
			Activity: time.Since(one.active) < quiet, Name: one.path,
		})
		one.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b connectionRecord) int { return cmp.Compare(a.ID, b.ID) })
	return all
}

// hostAtPort returns an address as Thunder writes it, with "@" before the port.
func hostAtPort(address string) string {
	if i := strings.LastIndexByte(address, ':'); i >= 0 {
		return address[:i] + "@" + address[i+1:]
	}
	return address
}

// Proxy is an interface of a plugin that a native client uses.
type Proxy struct {
	Interface string `json:"interface"`
	Name      string `json:"name"`
	Instance  string `json:"instance"`
	Count     int    `json:"count"`
	// Origin says which client uses it, and through which connection.
	Origin string `json:"origin,omitempty"`
	// Link is the name of that connection.
	Link string `json:"-"`
}

func serveLinks(_ context.Context, r request) (any, error) {
	return r.front.connections.records(r.front.limits.pingEvery), nil
}

// serveProxies lists all proxies, or without their origin those of one connection.
func serveProxies(_ context.Context, r request) (any, error) {
	all := []Proxy{}
	if r.front.options.Proxies != nil {
		all = append(all, r.front.options.Proxies()...)
	}
	if r.index == "" {
		return all, nil
	}
	all = slices.DeleteFunc(all, func(p Proxy) bool { return p.Link != r.index })
	if len(all) == 0 {
		return nil, thunder.NewError(thunder.UnknownKey, nil)
	}
	for i := range all {
		all[i].Origin = ""
	}
	return all, nil
}
