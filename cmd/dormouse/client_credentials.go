package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
)

// credentials is what a client shows to a host with TLS, and by what it knows the host.
type credentials struct {
	token            string
	certificate, key string // paths of PEM files, empty for none
	authorities      string // path of a PEM file; empty for those of the machine
}

// credentialsFrom returns the credentials in the environment.
func credentialsFrom(getenv func(string) string) credentials {
	return credentials{
		token:       getenv("DORMOUSE_TOKEN"),
		certificate: getenv("DORMOUSE_CERTIFICATE"),
		key:         getenv("DORMOUSE_KEY"),
		authorities: getenv("DORMOUSE_CA"),
	}
}

// encrypt returns the connection with TLS to the host at the address, whose certificate
// must be for that address.
func (c credentials) encrypt(ctx context.Context, raw net.Conn, address string) (net.Conn, error) {
	config, err := c.tlsConfig(address)
	if err != nil {
		_ = raw.Close() // it was not used
		return nil, &credentialsError{err}
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // it is of no use
		return nil, err
	}
	return conn, nil
}

// tlsConfig returns the TLS configuration for the host at the address.
func (c credentials) tlsConfig(address string) (*tls.Config, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	config := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12, NextProtos: []string{alpnHTTP1}}
	if c.authorities != "" {
		if config.RootCAs, err = readAuthorities(c.authorities); err != nil {
			return nil, fmt.Errorf("DORMOUSE_CA: %w", err)
		}
	}
	if c.certificate != "" {
		pair, err := tls.LoadX509KeyPair(c.certificate, c.key)
		if err != nil {
			return nil, fmt.Errorf("cannot use the certificate %q in DORMOUSE_CERTIFICATE with the key %q in DORMOUSE_KEY: %w", c.certificate, c.key, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}

// credentialsError means that what the client is to show, or to know the host by, can't be
// used. Its text names the variable.
type credentialsError struct{ err error }

func (e *credentialsError) Error() string { return e.err.Error() }

func (e *credentialsError) Unwrap() error { return e.err }
