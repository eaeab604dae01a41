package communicator

import (
	"net"
	"testing"

	"github.com/rs/zerolog"

	"dormouse/plugins/peer"
)

func TestConnectionList(t *testing.T) {
	g := newConnectionList(peer.Limits{All: 2, Share: 2}, zerolog.Nop(), identifyPlugin("A"), nil)
	enter := func() (net.Conn, net.Conn, error) {
		near, far := net.Pipe()
		t.Cleanup(func() { _ = far.Close() })
		conn, _, err := g.ServerHandshake(near)
		return conn, far, err
	}
	first, _, err := enter()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := enter(); err != nil {
		t.Fatal(err)
	}
	_, far, err := enter()
	if err == nil || err.Error() != "plugin A has all 2 that one peer may have" {
		t.Errorf("a third: %v", err)
	}
	if _, err := far.Read(make([]byte, 1)); err == nil {
		t.Error("it was not closed")
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	if err := first.Close(); err != nil {
		t.Error(err)
	}
	_, far, err = enter()
	if err != nil {
		t.Errorf("after one has left: %v", err)
	}
	g.closeAllAndRefuseNew()
	if _, err := far.Read(make([]byte, 1)); err == nil {
		t.Error("it was not cut")
	}
	if _, _, err := enter(); err == nil {
		t.Error("one came in that was shut")
	}

	strict := newConnectionList(nativeLimits, zerolog.Nop(), identifyNative(Group{}), nil)
	near, other := net.Pipe()
	defer other.Close()
	if _, _, err := strict.ServerHandshake(near); err == nil {
		t.Error("what is no socket came in")
	}
}
