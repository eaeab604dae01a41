package peer

import (
	"errors"
	"net"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"dormouse/plugins/access"
)

// user is a local user's client.
func user(uid int) access.Client {
	return access.Client{Loopback: true, User: &access.User{UID: uid}}
}

// pass lets time pass in the bubble.
func pass(d time.Duration) {
	<-time.After(d)
}

// crowd takes places, and remembers which connections were closed.
type crowd struct {
	places Places
	limits Limits
	closed []string
}

func (c *crowd) take(t *testing.T, name string, client access.Client) *Place {
	t.Helper()
	one, err := c.tryTake(name, client)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return one
}

func (c *crowd) tryTake(name string, client access.Client) (*Place, error) {
	pass(time.Second) // no two come at the same time
	return c.places.Take(c.limits, client, func() { c.closed = append(c.closed, name) })
}

func (c *crowd) expectClosed(t *testing.T, want string) {
	t.Helper()
	if len(c.closed) != 1 || c.closed[0] != want {
		t.Errorf("closed %v, want %s", c.closed, want)
	}
	c.closed = nil
}

// The connection that is idle for the longest time gives way: one of the same peer if its
// share is full, any but root's if all places are.
func TestIdleGivesWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{limits: Limits{All: 4, Share: 2, Reserve: 1}}
		first := c.take(t, "a1", user(54321))
		c.take(t, "a2", user(54321))
		first.Begin()
		pass(time.Second)
		first.End()
		c.take(t, "b1", user(54322))
		c.take(t, "a3", user(54321))
		c.expectClosed(t, "a2")
		c.take(t, "root1", user(0))
		c.take(t, "root2", user(0)) // of the reserve
		if len(c.closed) > 0 {
			t.Errorf("closed %v though there is a reserve", c.closed)
		}
		c.take(t, "c1", user(54323))
		c.expectClosed(t, "a1")
		c.take(t, "root3", user(0))
		c.expectClosed(t, "b1")
		if n := c.places.Count(); n != 5 {
			t.Errorf("%d places are taken", n)
		}
	})
}

// What is in use, or not idle for long enough, keeps its place.
func TestBusyKeepsItsPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &crowd{limits: Limits{All: 2, Share: 1, Reserve: 1, IdleAfter: time.Minute}}
		first := c.take(t, "a1", user(54321))
		if _, err := c.tryTake("a2", user(54321)); err == nil || err.Error() != "user 54321 has all 1 that one peer may have" {
			t.Errorf("beyond the share: %v", err)
		}
		second := c.take(t, "b1", user(54322))
		if _, err := c.tryTake("c1", user(54323)); err == nil || err.Error() != "all 2 are taken" {
			t.Errorf("beyond all: %v", err)
		}
		c.take(t, "root", user(0))
		pass(time.Minute)
		first.Begin()
		second.Begin()
		if _, err := c.tryTake("c2", user(54323)); err == nil {
			t.Error("a connection in use gave way, or root's")
		}
		second.End()
		pass(time.Minute)
		c.take(t, "c3", user(54323))
		c.expectClosed(t, "b1")
		second.Free() // it has lost its place already
		first.Free()
		first.Free()
		if n := c.places.Count(); n != 2 {
			t.Errorf("%d places are taken", n)
		}
	})
}

// Connections count for a user of this machine, or for another machine.
func TestNameOf(t *testing.T) {
	for want, c := range map[string]access.Client{
		"user 7":                user(7),
		"unknown local users":   {Loopback: true, Address: "127.0.0.1:1"},
		"plugin A":              {Plugin: "A"},
		"address 192.0.2.7":     {Address: "[::ffff:192.0.2.7]:1"},
		"network 2001:db8::/64": {Address: "[2001:db8::7]:1"},
		"network fe80::/64":     {Address: "[fe80::7%eth0]:1"},
		"unknown clients":       {Address: "pipe"},
	} {
		if got := NameOf(c); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// The kernel names the clients of both kinds of sockets; wrapped ones are seen through.
func TestIdentify(t *testing.T) {
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": "@dormouse-test-identify"} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		client, err := net.Dial(network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		got, err := Identify(wrapped{conn})
		if err != nil || got.User == nil || got.User.UID != os.Geteuid() || !got.Loopback || (got.Address == "") != (network == "unix") {
			t.Errorf("%s: %+v, %v", network, got, err)
		}
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		if got, err := Identify(conn); network == "tcp" && (err == nil || got.User != nil || !got.Loopback) {
			t.Errorf("closed: %+v, %v", got, err)
		}
		if err := errors.Join(conn.Close(), l.Close()); err != nil {
			t.Error(err)
		}
	}
	one, two := net.Pipe()
	defer two.Close()
	defer one.Close()
	if got, err := Identify(one); err != nil || got.User != nil || got.Loopback {
		t.Errorf("a pipe: %+v, %v", got, err)
	}
}

// wrapped wraps a connection as TLS does.
type wrapped struct{ net.Conn }

func (w wrapped) NetConn() net.Conn { return w.Conn }
