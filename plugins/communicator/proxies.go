package communicator

import (
	"cmp"
	"context"
	"slices"
)

// Proxy is a service of a plugin that a native client is calling.
type Proxy struct {
	Interface string // the gRPC service
	Name      string // the callsign of the plugin
	Count     int    // calls that are under way
	Client    string // the client's process and user
}

// calledService names a gRPC service and the plugin that serves it.
type calledService struct{ service, callsign string }

// Proxies lists the services that native clients are calling now, sorted by
// callsign and service.
func (c *Communicator) Proxies() []Proxy {
	var all []Proxy
	for _, n := range c.natives {
		all = append(all, n.connections.proxies()...)
	}
	slices.SortFunc(all, func(a, b Proxy) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.Client, b.Client))
	})
	return all
}

// proxies lists the services that the clients of the connections are calling now.
func (p *connectionList) proxies() (all []Proxy) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.connections {
		c.mu.Lock()
		for what, count := range c.callsUnderWay {
			all = append(all, Proxy{what.service, what.callsign, count, c.client.String()})
		}
		c.mu.Unlock()
	}
	return all
}

// countCallUnderWay counts a call as under way on its connection until the caller calls end.
// Without a listed connection in ctx it does nothing.
func countCallUnderWay(ctx context.Context, method, callsign string) (end func()) {
	c := connectionOfCall(ctx)
	if c == nil {
		return func() {}
	}
	what := calledService{serviceOfMethod(method), callsign}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.callsUnderWay[what]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.callsUnderWay[what]--; c.callsUnderWay[what] == 0 {
			delete(c.callsUnderWay, what)
		}
	}
}
