package procfs

import (
	"net"
	"testing"
)

func TestTCP(t *testing.T) {
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	d := find(t, raw(t, listener))
	if s, err := d.TCPSocket(); err != nil || s != (TCPSocket{Listening: true, Reuse: true, Port: port}) {
		t.Errorf("a listening socket is %+v, %v", s, err)
	}
	conn, err := net.Dial("tcp4", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if s, err := d.TCPSocket(); err != nil || s.Waiting != 1 {
		t.Errorf("with a connection it is %+v, %v", s, err)
	}
	if s, err := find(t, raw(t, conn)).TCPSocket(); err != nil || s.Listening || s.Waiting != 0 || s.Port == port {
		t.Errorf("the connection is %+v, %v", s, err)
	}
}
