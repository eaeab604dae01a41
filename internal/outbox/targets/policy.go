// Package targets decides where the host may send the requests that others have asked for:
// by the address that is dialed, after the name was resolved, so that no spelling and no name
// that resolves anew each time leads elsewhere. It does not know what is sent.
package targets

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
)

// ErrRefused means that a request may not go where it is to go.
var ErrRefused = errors.New("webhooks may not go there")

// Options say what a policy allows.
type Options struct {
	Allow []Rule // besides public addresses
	// OwnPorts returns the addresses at which this host listens now. Requests never go there.
	OwnPorts func() []netip.AddrPort
	// OwnName is the host:port under which others reach this host, "" for none. Requests never
	// go there.
	OwnName string
	// Resolver finds the addresses of names; nil stands for the system's.
	Resolver *net.Resolver
	// LocalAddresses returns the addresses of this machine; nil asks the system.
	LocalAddresses func() []netip.Addr
}

// Policy says which targets are allowed. Any goroutine may use it.
type Policy struct {
	options Options
	allow   atomic.Pointer[[]Rule]
}

// New returns a policy.
func New(o Options) *Policy {
	if o.OwnPorts == nil {
		o.OwnPorts = func() []netip.AddrPort { return nil }
	}
	if o.LocalAddresses == nil {
		o.LocalAddresses = localAddresses
	}
	p := &Policy{options: o}
	p.SetAllowed(o.Allow)
	return p
}

// SetAllowed replaces what is allowed besides public addresses, from the next try on.
func (p *Policy) SetAllowed(rules []Rule) {
	rules = slices.Clone(rules)
	p.allow.Store(&rules)
}

// DialContext connects to the address if that is allowed, as a net.Dialer does. Of the addresses
// that a name has, only allowed ones are tried. The error wraps ErrRefused if none is.
func (p *Policy) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Resolver: p.options.Resolver, ControlContext: func(_ context.Context, _, address string, _ syscall.RawConn) error {
		dialed, err := netip.ParseAddrPort(address)
		if err != nil {
			return fmt.Errorf("%w: cannot read the address %q", ErrRefused, address)
		}
		return p.Decide(name, dialed)
	}}
	return dialer.DialContext(ctx, network, address)
}

// Decide returns an ErrRefused if no request may go to the address, to which a URL with that
// host name has led.
func (p *Policy) Decide(name string, dialed netip.AddrPort) error {
	address, port := plain(dialed.Addr()), dialed.Port()
	kind := kindOf(address)
	switch {
	case kind == unusable:
		return fmt.Errorf("%w: %s is the address of no single machine", ErrRefused, address)
	case p.isOwn(address, port):
		return fmt.Errorf("%w: %s is a port of this host itself", ErrRefused, netip.AddrPortFrom(address, port))
	case kind == public:
		return nil
	}
	for _, rule := range *p.allow.Load() {
		if rule.allows(name, address, port) {
			return nil
		}
	}
	advice := netip.AddrPortFrom(address, port).String()
	return fmt.Errorf("%w: %s is %s; the operator can allow it by allow = [%q] in [webhooks]", ErrRefused, address, kind, advice)
}

// isOwn reports whether the host itself listens at that address.
func (p *Policy) isOwn(address netip.Addr, port uint16) bool {
	for _, own := range p.options.OwnPorts() {
		if own.Port() != port {
			continue
		}
		at := plain(own.Addr())
		if at == address || at.IsUnspecified() && p.isLocal(address) {
			return true
		}
	}
	return false
}

// isLocal reports whether the address is one of this machine.
func (p *Policy) isLocal(address netip.Addr) bool {
	return address.IsLoopback() || slices.Contains(p.options.LocalAddresses(), address)
}

// localAddresses returns the addresses of the machine's interfaces.
func localAddresses() (all []netip.Addr) {
	found, _ := net.InterfaceAddrs() // without them, loopback is what is known
	for _, one := range found {
		if prefix, err := netip.ParsePrefix(one.String()); err == nil {
			all = append(all, plain(prefix.Addr()))
		}
	}
	return all
}

// isLocalName reports whether the name stands for this machine by itself (RFC 6761).
func isLocalName(name string) bool {
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}
