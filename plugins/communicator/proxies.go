package communicator

import (
	"cmp"
	"context"
	"slices"

	"google.golang.org/grpc/peer"
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
	p := c.nativeConnections
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []Proxy
	for client := range p.connections {
		client.mu.Lock()
		for what, count := range client.callsUnderWay {
			all = append(all, Proxy{what.service, what.callsign, count, client.clientName})
		}
		client.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Proxy) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Interface, b.Interface), cmp.Compare(a.Client, b.Client))
	})
	return all
}

// countCallUnderWay counts a call as under way on its connection until the caller calls end.
// Without a listed connection in ctx it does nothing.
func countCallUnderWay(ctx context.Context, method, callsign string) (end func()) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return func() {}
	}
	c, ok := p.AuthInfo.(*connection)
	if !ok {
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
