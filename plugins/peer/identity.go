// Package peer finds out which client is at the other end of a connection, and bounds how
// many connections each may have, and how much memory for messages. It does not know what is sent over a connection, nor
// what a client may do.
package peer

import (
	"errors"
	"net"

	"dormouse/internal/sockdiag"
	"dormouse/internal/unixsock"
	"dormouse/plugins/access"
)

// Identify returns what the kernel says of the client at the other end of a connection:
// its address, and its user if it is on this machine. Connections that wrap another are
// looked through if they have a method NetConn. After an error the client has no user.
func Identify(conn net.Conn) (client access.Client, err error) {
	switch socket := Socket(conn).(type) {
	case *net.UnixConn:
		client.Loopback = true
		process, err := unixsock.PeerOf(socket)
		if err != nil {
			return client, err
		}
		client.User = &access.User{UID: process.UID, PID: process.PID, Groups: append(process.Groups, uint32(process.GID))}
	case *net.TCPConn:
		client.Address = conn.RemoteAddr().String()
		uid, err := sockdiag.PeerUID(socket)
		switch {
		case errors.Is(err, sockdiag.ErrNotLoopback):
			return client, nil // a client on another machine has no user here
		case err != nil:
			client.Loopback = true
			return client, err
		}
		client.Loopback, client.User = true, &access.User{UID: uid}
	default:
		client.Address = conn.RemoteAddr().String()
	}
	return client, nil
}

// Socket returns the connection below those that wrap it, such as that of TLS.
func Socket(conn net.Conn) net.Conn {
	for {
		wrapper, ok := conn.(interface{ NetConn() net.Conn })
		if !ok {
			return conn
		}
		conn = wrapper.NetConn()
	}
}
