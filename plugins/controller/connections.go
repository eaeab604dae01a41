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

// links are the connections of the front, HTTP and websockets alike. The zero
// value is ready.
type connections struct {
	beforeFirstRequest sync.WaitGroup // those that have not brought a request yet

	mu     sync.Mutex
	last   uint64
	byConn map[net.Conn]*connection
}

// link is one connection.
type connection struct {
	id           uint64
	conn         net.Conn
	remote       string
	firstRequest func() // may be called more than once

	mu     sync.Mutex
	state  string
	path   string    // the path last asked for
	active time.Time // when something last came in
}

// What a link is used for.
const (
	usedForHTTP      = "WebServer"
	usedForWebsocket = "WebSocket"
)

// linkRecord is a connection as a client sees it.
type connectionRecord struct {
	Remote   string `json:"remote"`
	State    string `json:"state"`
	ID       uint64 `json:"id"`
	Activity bool   `json:"activity"`
	Name     string `json:"name,omitempty"`
}

type connectionKey struct{}

// open keeps a new connection and puts its link into the context of its
// requests.
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

// changed forgets a connection that has ended. One that becomes a websocket is
// kept until drop.
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

func (l *connections) dropWebsocket(one *connection) {
	if one == nil {
		return
	}
	one.mu.Lock()
	hijacked := one.state == usedForWebsocket
	one.mu.Unlock()
	if hijacked { // else it is still HTTP's
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.byConn, one.conn)
	}
}

// linkOf is nil for a request that came over no connection of a Server's.
func connectionOf(ctx context.Context) *connection {
	one, _ := ctx.Value(connectionKey{}).(*connection)
	return one
}

// touch notes that something came in, with the path if it has one.
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

// records lists the connections in the order in which they came. Active is one
// from which something came not longer ago than quiet.
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

// hostAtPort is an address as Thunder writes it.
func hostAtPort(address string) string {
	if i := strings.LastIndexByte(address, ':'); i >= 0 {
		return address[:i] + "@" + address[i+1:]
	}
	return address
}

// Proxy is an interface of a plugin that a native client holds.
type Proxy struct {
	Interface string `json:"interface"`
	Name      string `json:"name"`
	Instance  string `json:"instance"`
	Count     int    `json:"count"`
	// Origin is the channel and the link through which it is held.
	Origin string `json:"origin,omitempty"`
	// Link is the name of that link.
	Link string `json:"-"`
}

func serveLinks(_ context.Context, r request) (any, error) {
	return r.front.connections.records(r.front.limits.pingEvery), nil
}

// serveProxies lists all, or those of one link, where their origin is known.
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
