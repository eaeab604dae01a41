package communicator

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc/peer"
)

// Proxy is what a native client holds of a plugin: calls of one service of its
// that are under way.
type Proxy struct {
	Interface string // the service
	Name      string // the callsign
	Count     int
	Origin    string // who the client is
}

// holding is what one connection may hold several times.
type holding struct{ service, callsign string }

// Proxies lists what native clients hold now, by callsign and interface.
func (c *Communicator) Proxies() []Proxy {
	g := c.clients
	g.mu.Lock()
	defer g.mu.Unlock()
	var all []Proxy
	for client := range g.connections {
		client.mu.Lock()
		for what, count := range client.held {
			all = append(all, Proxy{what.service, what.callsign, count, client.origin})
		}
		client.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Proxy) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.Origin, b.Origin))
	})
	return all
}

// hold counts a call as under way on its connection until the returned function
// is called.
func hold(ctx context.Context, method, callsign string) (release func()) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return func() {}
	}
	c, ok := p.AuthInfo.(*connection)
	if !ok {
		return func() {}
	}
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	what := holding{service, callsign}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held[what]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.held[what]--; c.held[what] == 0 {
			delete(c.held, what)
		}
	}
}
