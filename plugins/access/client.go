package access

import (
	"cmp"
	"fmt"
	"os"
)

// Client is what the host knows of a client, proven by the kernel, by TLS or by a token.
// The zero Client is a stranger, which has no role.
type Client struct {
	// Address is where the client connects from, for logs; empty for a unix socket.
	Address string
	// Loopback reports whether the client connected over a loopback address, or a unix
	// socket of the host.
	Loopback bool
	// User is the local user that the client runs as, nil if it is not known.
	User *User
	// Token is the digest of the token that the client sent, zero without one.
	Token TokenDigest
	// Certificate is the common name in the certificate that the client proved to have,
	// empty without one.
	Certificate string
	// Plugin is the callsign of the plugin that uses its host socket, else empty.
	Plugin string
}

// User is a local user, as the kernel says.
type User struct {
	UID int
	PID int // of the client's process, 0 if the kernel does not say
	// Groups are the groups of the client's process, if the kernel knows them. The user's
	// own groups count too.
	Groups []uint32
}

// HostItself returns the client that the host is to itself. It has every role.
func HostItself() Client { return Client{User: &User{UID: os.Geteuid()}} }

// IsPrivileged reports whether the client runs as root or the host's own user.
func (c Client) IsPrivileged() bool {
	return c.User != nil && (c.User.UID == 0 || c.User.UID == os.Geteuid())
}

// String returns what the client is known by, for logs and errors: "user 1000 from 127.0.0.1:4242".
func (c Client) String() string {
	var name string
	switch {
	case c.Plugin != "":
		name = "plugin " + c.Plugin
	case c.Certificate != "":
		name = fmt.Sprintf("certificate %q", c.Certificate)
	case c.Token != TokenDigest{}:
		name = "a token"
	case c.User != nil && c.User.PID != 0:
		name = fmt.Sprintf("pid %d, user %d", c.User.PID, c.User.UID)
	case c.User != nil:
		name = fmt.Sprintf("user %d", c.User.UID)
	default:
		name = "a stranger"
	}
	if c.Address == "" {
		return name
	}
	return cmp.Or(name, "client") + " from " + c.Address
}
