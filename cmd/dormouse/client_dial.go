package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"dormouse/configs"
	"dormouse/internal/unixsock"
)

// unixPrefix begins the name of a host that is reached at the path of a unix socket, and
// tlsPrefix that of one with TLS.
const (
	unixPrefix = "unix:"
	tlsPrefix  = "https://"
)

// client calls the methods of a host by JSON-RPC over HTTP. The client does not limit how
// long an answer takes; the host does.
type client struct {
	// addresses are where the client looks for the host, in this order: HOST:PORT,
	// https://HOST:PORT or unix:PATH.
	addresses   []string
	credentials credentials
	http        *http.Client
	reached     atomic.Pointer[string] // the address where the host was found last
}

// newClient returns a client of the host at the first of the addresses that can be reached.
func newClient(addresses ...string) *client {
	c := &client{addresses: addresses}
	c.http = &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dial(ctx) },
		DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			conn, err := c.dial(ctx)
			if err != nil {
				return nil, err
			}
			return c.credentials.encrypt(ctx, conn, address)
		},
	}}
	return c
}

// hostAddresses returns where a client looks for the host if the command line names none:
// what DORMOUSE_HOST names, else the control socket, and then the TCP address. The
// variables by which a host is started count too: the socket below DORMOUSE_ROOT, and the
// address DORMOUSE_LISTEN, which without a root is the only one.
func hostAddresses(getenv func(string) string) []string {
	root, listen := getenv("DORMOUSE_ROOT"), getenv("DORMOUSE_LISTEN")
	tcp := cmp.Or(listen, defaultHost)
	switch {
	case getenv("DORMOUSE_HOST") != "":
		return []string{getenv("DORMOUSE_HOST")}
	case root != "":
		return []string{unixPrefix + filepath.Join(root, "run", "control"), tcp}
	case listen != "":
		return []string{tcp}
	}
	return []string{unixPrefix + configs.Default().Host.ControlPath(), tcp}
}

// checkHostAddress returns an error unless the address is HOST:PORT, https://HOST:PORT or
// unix:PATH.
func checkHostAddress(address string) error {
	address = strings.TrimPrefix(address, tlsPrefix)
	if path, isUnix := strings.CutPrefix(address, unixPrefix); isUnix && path != "" {
		return nil
	}
	if _, _, err := net.SplitHostPort(address); err != nil || strings.HasPrefix(address, unixPrefix) {
		return fmt.Errorf("%q is not an address such as %s, %stv.example:9998 or %s/run/dormouse/control", address, defaultHost, tlsPrefix, unixPrefix)
	}
	return nil
}

// dial connects to the first address that can be reached. The error is an
// *unreachableError if there is none.
func (c *client) dial(ctx context.Context) (net.Conn, error) {
	unreachable := &unreachableError{}
	for _, address := range c.addresses {
		conn, err := dialAddress(ctx, address)
		if err == nil {
			c.reached.Store(&address)
			return conn, nil
		}
		unreachable.tries = append(unreachable.tries, fmt.Sprintf("%s: %v", address, innermostError(err)))
	}
	return nil, unreachable
}

// dialAddress connects to a host at HOST:PORT, https://HOST:PORT or unix:PATH, without TLS.
func dialAddress(ctx context.Context, address string) (net.Conn, error) {
	if path, isUnix := strings.CutPrefix(address, unixPrefix); isUnix {
		conn, err := unixsock.Dial(path)
		if err != nil { // not a nil *net.UnixConn
			return nil, err
		}
		return conn, nil
	}
	dialer := net.Dialer{Timeout: 5 * time.Second}
	return dialer.DialContext(ctx, "tcp", strings.TrimPrefix(address, tlsPrefix))
}

// String returns the address where the host was found, or all where it may be.
func (c *client) String() string {
	if reached := c.reached.Load(); reached != nil {
		return *reached
	}
	return strings.Join(c.addresses, " or ")
}

// url returns the URL of all calls.
func (c *client) url(scheme string) string { return c.urlOf(scheme, rpcPath) }

// urlOf returns the URL of a path of the host. Its host is for the header Host, since dial
// chooses the address. With TLS the scheme becomes https or wss.
func (c *client) urlOf(scheme, path string) string {
	last := c.addresses[len(c.addresses)-1]
	host, isTLS := strings.CutPrefix(last, tlsPrefix)
	switch {
	case isTLS:
		scheme += "s"
	case strings.HasPrefix(last, unixPrefix):
		host = "localhost"
	}
	return scheme + "://" + host + path
}

// header returns the header of all requests, with the token if there is one and it can't be
// read on its way.
func (c *client) header() http.Header {
	h := make(http.Header)
	if c.credentials.token != "" && c.isPrivate() {
		h.Set("Authorization", "Bearer "+c.credentials.token)
	}
	return h
}

// isPrivate reports whether what the client sends is encrypted or stays on this machine.
func (c *client) isPrivate() bool {
	return !slices.ContainsFunc(c.addresses, func(address string) bool {
		host, _, _ := net.SplitHostPort(address)
		return !strings.HasPrefix(address, tlsPrefix) && !strings.HasPrefix(address, unixPrefix) && !configs.IsLoopback(host)
	})
}

// errUnreachable means that no host answered at the address.
var errUnreachable = errors.New("no host reached")

// unreachableError is errUnreachable with each address that was tried and what came of it.
type unreachableError struct{ tries []string }

func (e *unreachableError) Error() string {
	return errUnreachable.Error() + " at " + strings.Join(e.tries, ", nor at ")
}

func (e *unreachableError) Unwrap() error { return errUnreachable }
