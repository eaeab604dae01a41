package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"dormouse/configs"
	"dormouse/internal/regularfile"
)

// tlsFiles is the TLS configuration of one listener. It is made from files, which can be
// read again, for connections that come after.
type tlsFiles struct {
	files    configs.TLS
	protocol string // what ALPN answers, see RFC 7301
	current  atomic.Pointer[tls.Config]
}

// The names of the protocols in ALPN.
const (
	alpnHTTP1 = "http/1.1" // websockets need it
	alpnHTTP2 = "h2"       // of gRPC
)

// readTLSFiles returns the TLS configuration of a listener that speaks the protocol.
func readTLSFiles(files configs.TLS, protocol string) (*tlsFiles, error) {
	f := &tlsFiles{files: files, protocol: protocol}
	use, err := f.readAgain()
	if err != nil {
		return nil, err
	}
	use()
	return f, nil
}

// readAgain reads the files again. They count once use is called, which reports whether they
// differ from those that counted before.
func (f *tlsFiles) readAgain() (use func() (differ bool), err error) {
	certificate, err := readKeyPair(f.files)
	if err != nil {
		return nil, fmt.Errorf("cannot use the certificate %s with the key %s: %w", f.files.Certificate, f.files.Key, err)
	}
	c := &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{f.protocol}}
	if f.files.ClientCA != "" {
		if c.ClientCAs, err = readAuthorities(f.files.ClientCA); err != nil {
			return nil, err
		}
		c.ClientAuth = tls.VerifyClientCertIfGiven // a token will do too
	}
	return func() (differ bool) {
		before := f.current.Swap(c)
		return before == nil || !before.ClientCAs.Equal(c.ClientCAs) || !before.Certificates[0].Leaf.Equal(c.Certificates[0].Leaf)
	}, nil
}

// maxCertificateFile is how many bytes of a file with certificates are read at most: some
// bundles of authorities have half a MiB.
const maxCertificateFile = 8 << 20

// readKeyPair returns the certificate, with its key, in the files.
func readKeyPair(files configs.TLS) (tls.Certificate, error) {
	certificate, err := regularfile.Read(files.Certificate, maxCertificateFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	key, err := regularfile.Read(files.Key, maxCertificateFile)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.X509KeyPair(certificate, key)
}

// readAuthorities returns the certificates in a PEM file.
func readAuthorities(path string) (*x509.CertPool, error) {
	text, err := regularfile.Read(path, maxCertificateFile)
	authorities := x509.NewCertPool()
	if err == nil && !authorities.AppendCertsFromPEM(text) {
		err = errors.New("it has no certificate in PEM form")
	}
	if err != nil {
		return nil, fmt.Errorf("cannot use the authorities in %s: %w", path, err)
	}
	return authorities, nil
}

// config returns the configuration for a listener, which follows readAgain.
func (f *tlsFiles) config() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		NextProtos:         []string{f.protocol},
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return f.current.Load(), nil },
	}
}

// tlsConfigOrNil returns the listener's TLS configuration, nil if connections are not to
// be encrypted.
func (l frontListener) tlsConfigOrNil() *tls.Config {
	if l.tls == nil {
		return nil
	}
	return l.tls.config()
}

// encrypted returns the listener whose connections are encrypted, if they are to be.
func (l frontListener) encrypted() net.Listener {
	if config := l.tlsConfigOrNil(); config != nil {
		return tls.NewListener(l, config)
	}
	return l
}
