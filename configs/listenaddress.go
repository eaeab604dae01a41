package configs

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// TLS are the keys by which a listener encrypts its connections. With the zero TLS the
// listener encrypts nothing.
type TLS struct {
	// Certificate and Key are the paths of PEM files: the certificate with its chain, and
	// its private key. Both are set or neither.
	Certificate string `toml:"tls-certificate"`
	Key         string `toml:"tls-key"`
	// ClientCA is the path of a PEM file with the authorities whose client certificates
	// are accepted. If empty, no client certificate is asked for.
	ClientCA string `toml:"tls-client-ca"`
}

// IsOn reports whether connections are encrypted.
func (t TLS) IsOn() bool { return t.Certificate != "" }

// Protocol is what clients speak at a listener.
type Protocol string

// The values of the key "protocol": JSON-RPC over HTTP and websocket, or gRPC.
const (
	ProtocolJSONRPC Protocol = "jsonrpc"
	ProtocolGRPC    Protocol = "grpc"
)

// CheckExposure returns an error if other machines can reach the address and clients
// there need not prove who they are, or are not protected: that needs TLS, and either
// tokens or an authority of client certificates. A listener for QHAna alone needs neither:
// [qhana] says which peers may do what.
func (c Config) CheckExposure(host string, l Listener) error {
	switch t := l.TLS; {
	case IsLoopback(host), l.Only == OnlyQHAna:
		return nil
	case !t.IsOn():
		return errors.New("other machines can reach it, so it needs tls-certificate and tls-key, and a tls-client-ca or rows [[access]] for tokens; " +
			"or set a loopback address")
	case t.ClientCA == "" && !c.grantsTokens():
		return errors.New("other machines can reach it, so it needs a tls-client-ca, or rows [[access]] for tokens that `dormouse token add` makes")
	}
	return nil
}

// grantsTokens reports whether a row [[access]] grants a role to a token.
func (c Config) grantsTokens() bool {
	for _, row := range c.Access {
		if row.Token != "" {
			return true
		}
	}
	return false
}

// readTLS reads the keys of TLS of a listener.
func (t *tableReader) readTLS(to *TLS) {
	t.ReadPath("tls-certificate", &to.Certificate)
	t.ReadPath("tls-key", &to.Key)
	t.ReadPath("tls-client-ca", &to.ClientCA)
	t.refersTo(ReferenceFile, "tls-certificate", to.Certificate)
	t.refersTo(ReferenceFile, "tls-key", to.Key)
	t.refersTo(ReferenceFile, "tls-client-ca", to.ClientCA)
	if (to.Certificate == "") != (to.Key == "") {
		t.AddProblem("", `the keys "tls-certificate" and "tls-key" must stand together %s`, t.Name)
	}
	if to.ClientCA != "" && to.Certificate == "" {
		t.AddProblem("tls-client-ca", `key "tls-client-ca" %s goes with "tls-certificate" only`, t.Name)
	}
}

// reportExposure reports the listeners that other machines can reach without the
// protection that this needs. All files must have been read: rows [[access]] count.
func (l *configLoad) reportExposure() {
	report := func(at filePosition, listener Listener) {
		host, _, err := net.SplitHostPort(listener.Address)
		if err != nil {
			return // reported already
		}
		if err := l.config.CheckExposure(host, listener); err != nil {
			l.problems.Add(at.path, at.line, fmt.Errorf("cannot listen on %q: %w", listener.Address, err))
		}
	}
	report(l.listenAt, Listener{Address: l.config.Host.Listen, TLS: l.config.Host.TLS})
	for i, listener := range l.config.Listeners {
		report(l.listenersAt[i], listener)
	}
}

// checkAddress returns an error if the address is not host:port.
func checkAddress(address string) error {
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%q is not an address such as \"127.0.0.1:9998\"", address)
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("the port of %q must be a number from 0 to 65535", address)
	}
	return nil
}

// IsLoopback reports whether the host name or address stands for this machine alone.
func IsLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return strings.EqualFold(host, "localhost")
	}
	return addr.IsLoopback()
}
