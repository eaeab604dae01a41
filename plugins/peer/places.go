package peer

import (
	"fmt"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"dormouse/plugins/access"
)

// Limits bound how many connections may be open at once, or how many calls under way.
type Limits struct {
	// All is the number for all peers together. Share is the number for one peer: a local
	// user, or the clients at an address of another machine.
	All, Share int
	// Reserve is how many more root and the host's own user may have.
	Reserve int
	// IdleAfter is how long a connection must be unused before it gives way to a new one.
	IdleAfter time.Duration
}

// Places are the places for connections of one kind, or for calls. The zero value is ready.
type Places struct {
	mu     sync.Mutex
	taken  map[*Place]bool
	byPeer map[string]int // how many places each peer has
}

// Place is the place of one connection. It does not give way from Begin until End, which
// may be nested. The methods of a nil *Place do nothing.
type Place struct {
	places     *Places
	peer       string
	privileged bool
	giveWay    func() // closes the connection

	uses      atomic.Int64 // requests under way and the like
	idleSince atomic.Int64 // when the last use ended, in nanoseconds since 1970
}

// Take gives a new connection of the client a place. If the client's share or all places
// are taken, the connection that has been idle for the longest time loses its place, and
// Take calls its giveWay, which must not wait; a connection whose giveWay is nil keeps its
// place. If none can give way, Take returns an error that says what is full.
func (p *Places) Take(l Limits, client access.Client, giveWay func()) (*Place, error) {
	one := &Place{places: p, peer: NameOf(client), privileged: client.IsPrivileged(), giveWay: giveWay}
	one.idleSince.Store(time.Now().UnixNano())
	loser, err := p.add(one, l)
	if err != nil {
		return nil, err
	}
	if loser != nil {
		loser.giveWay()
	}
	return one, nil
}

// add adds a place. If there was none left, it removes another and returns that as loser.
func (p *Places) add(one *Place, l Limits) (loser *Place, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if one.privileged {
		l.All, l.Share = l.All+l.Reserve, l.Share+l.Reserve
	}
	switch {
	case p.byPeer[one.peer] >= l.Share:
		loser = p.longestIdle(l.IdleAfter, func(other *Place) bool { return other.peer == one.peer })
		err = fmt.Errorf("%s has all %d that one peer may have", one.peer, l.Share)
	case len(p.taken) >= l.All:
		loser = p.longestIdle(l.IdleAfter, func(other *Place) bool { return !other.privileged || one.privileged })
		err = fmt.Errorf("all %d are taken", l.All)
	}
	if err != nil && loser == nil {
		return nil, err
	}
	p.remove(loser)
	if p.taken == nil {
		p.taken, p.byPeer = make(map[*Place]bool), make(map[string]int)
	}
	p.taken[one] = true
	p.byPeer[one.peer]++
	return loser, nil
}

// longestIdle returns the place that has been unused for the longest time of those that
// may be taken away, nil if none has been unused for long enough.
func (p *Places) longestIdle(idleAfter time.Duration, mayTake func(*Place) bool) (longest *Place) {
	before := time.Now().Add(-idleAfter).UnixNano()
	for one := range p.taken {
		if since := one.idleSince.Load(); one.giveWay != nil && one.uses.Load() == 0 && since <= before && mayTake(one) {
			longest, before = one, since
		}
	}
	return longest
}

// remove removes a place if it is still taken. The caller holds mu.
func (p *Places) remove(one *Place) {
	if one == nil || !p.taken[one] {
		return
	}
	delete(p.taken, one)
	if p.byPeer[one.peer]--; p.byPeer[one.peer] == 0 {
		delete(p.byPeer, one.peer)
	}
}

// Count returns how many places are taken.
func (p *Places) Count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.taken)
}

// Free gives the place back. It may be called again, and for a place that was lost.
func (one *Place) Free() {
	if one == nil {
		return
	}
	one.places.mu.Lock()
	defer one.places.mu.Unlock()
	one.places.remove(one)
}

// Begin says that the connection is in use, by a request for example.
func (one *Place) Begin() {
	if one != nil {
		one.uses.Add(1)
	}
}

// End ends what Begin began.
func (one *Place) End() {
	if one != nil {
		one.idleSince.Store(time.Now().UnixNano())
		one.uses.Add(-1)
	}
}

// NameOf returns the peer that the client's connections count for.
func NameOf(c access.Client) string {
	switch {
	case c.Plugin != "":
		return "plugin " + c.Plugin
	case c.User != nil:
		return "user " + strconv.Itoa(c.User.UID)
	case c.Loopback:
		return "unknown local users"
	}
	address, err := netip.ParseAddrPort(c.Address)
	if err != nil {
		return "unknown clients"
	}
	ip := address.Addr().Unmap().WithZone("")
	if ip.Is6() { // one machine has a whole network of these
		return "network " + netip.PrefixFrom(ip, 64).Masked().String()
	}
	return "address " + ip.String()
}
