package remote

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nkeys"

	"dormouse/configs"
	"dormouse/internal/queue"
	"dormouse/plugins/flows"
)

// writeFile writes a file of the test and returns its path.
func writeFile(t *testing.T, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// expectPassedOn fails the test unless a message gets into the stream.
func expectPassedOn(t *testing.T, config configs.Remote) {
	t.Helper()
	h := newHost(t, config)
	h.send(queue.Message{ID: "one"})
	h.waitFor("idle", func(s flows.RemoteTopic) bool { return s.Connected && s.Messages == 0 && s.Why == "" })
}

func TestNKey(t *testing.T) {
	user := newKey(t, nkeys.CreateUser)
	s := startServer(t, fmt.Sprintf("authorization { users: [ { nkey: %s } ] }", user.public))
	file := writeFile(t, "seed", user.seed)
	option, err := nats.NkeyOptionFromSeed(file)
	if err != nil {
		t.Fatal(err)
	}
	s.makeStream(option)
	expectPassedOn(t, configs.Remote{NATS: s.url, NKeyFile: file})
	other := newHost(t, configs.Remote{NATS: s.url, NKeyFile: writeFile(t, "seed", newKey(t, nkeys.CreateUser).seed)})
	other.waitFor("refused", func(s flows.RemoteTopic) bool {
		return !s.Connected && strings.Contains(strings.ToLower(s.WhyTaking+s.Why), "authorization")
	})
}

// A file with credentials holds a JWT, which an account of the server's operator has signed, and
// the user's key.
func TestCredentialsFile(t *testing.T) {
	operator, user := newKey(t, nkeys.CreateOperator), newKey(t, nkeys.CreateUser)
	account, system := newKey(t, nkeys.CreateAccount), newKey(t, nkeys.CreateAccount)
	unlimited := map[string]any{
		"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true, "conn": -1, "leaf": -1,
		"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
	}
	operatorJWT := operator.signed(t, operator, "operator", nil)
	accountJWT := operator.signed(t, account, "account", map[string]any{"limits": unlimited})
	systemJWT := operator.signed(t, system, "account", nil)
	userJWT := account.signed(t, user, "user", map[string]any{"subs": -1, "data": -1, "payload": -1})
	s := startServer(t, fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: { %s: %s, %s: %s }",
		operatorJWT, system.public, account.public, accountJWT, system.public, systemJWT))
	file := writeFile(t, "tv.creds", fmt.Appendf(nil,
		"-----BEGIN NATS USER JWT-----\n%s\n------END NATS USER JWT------\n\n-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n", userJWT, user.seed))
	s.makeStream(nats.UserCredentials(file))
	expectPassedOn(t, configs.Remote{NATS: s.url, Credentials: file})
}

// key is a pair of keys of NATS.
type key struct {
	nkeys.KeyPair
	public string
	seed   []byte
}

func newKey(t *testing.T, create func() (nkeys.KeyPair, error)) key {
	t.Helper()
	pair, err := create()
	if err != nil {
		t.Fatal(err)
	}
	public, err := pair.PublicKey()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := pair.Seed()
	if err != nil {
		t.Fatal(err)
	}
	return key{pair, public, seed}
}

// signed returns a JWT in which k says what the subject is.
func (k key) signed(t *testing.T, subject key, kind string, claims map[string]any) string {
	t.Helper()
	about := map[string]any{"type": kind, "version": 2}
	maps.Copy(about, claims)
	var parts []string
	for _, part := range []map[string]any{
		{"typ": "JWT", "alg": "ed25519-nkey"},
		{"jti": kind, "iat": time.Now().Unix(), "iss": k.public, "name": kind, "sub": subject.public, "nats": about},
	} {
		raw, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(raw))
	}
	text := strings.Join(parts, ".")
	signature, err := k.Sign([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

// The host trusts only servers whose certificates come from its CA, and shows one of its own.
func TestTLS(t *testing.T) {
	ca := newAuthority(t)
	serverCertificate, serverKey := ca.issue(t, "server")
	certificate, clientKey := ca.issue(t, "client")
	s := startServer(t, fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }", serverCertificate, serverKey, ca.file))
	s.makeStream(nats.RootCAs(ca.file), nats.ClientCert(certificate, clientKey))
	url := strings.Replace(s.url, "nats://", "tls://", 1)
	expectPassedOn(t, configs.Remote{NATS: url, CA: ca.file, Certificate: certificate, Key: clientKey})

	stranger := newHost(t, configs.Remote{NATS: url, CA: newAuthority(t).file, Certificate: certificate, Key: clientKey})
	stranger.send(queue.Message{ID: "one"})
	stranger.waitFor("told", func(s flows.RemoteTopic) bool {
		return !s.Connected && s.Messages == 1 && strings.Contains(s.Why, "certificate signed by unknown authority")
	})
}

// authority issues certificates.
type authority struct {
	file        string
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return authority{writeFile(t, "ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})), template, key}
}

// issue returns the files of a certificate and its key.
func (a authority) issue(t *testing.T, name string) (certificate, key string) {
	t.Helper()
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, a.certificate, own.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, name+".pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})),
		writeFile(t, name+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}
