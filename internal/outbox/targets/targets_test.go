package targets

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func rules(t *testing.T, texts ...string) (all []Rule) {
	t.Helper()
	for _, text := range texts {
		r, err := ParseRule(text)
		if err != nil {
			t.Fatal(err)
		}
		if r.String() != strings.ToLower(text) {
			t.Errorf("%q became %q", text, r)
		}
		all = append(all, r)
	}
	return all
}

// Every spelling of an address that is not public is refused, as soon as it is seen.
func TestSpellings(t *testing.T) {
	p := New(Options{OwnName: "dormouse.example:9998"})
	for _, host := range []string{
		"127.0.0.1", "127.1", "127.0.1", "127.255.255.254", "0x7f.0.0.1", "0x7f000001", "0X7F.1", "0177.0.0.1", "017700000001", "2130706433",
		"localhost", "LOCALHOST", "localhost.", "LocalHost.", "any.localhost", "127.0.0.1.",
		"[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::7f00:1]",
		"0.0.0.0", "0", "0x0", "00", "0.1", "[::]", "[::ffff:0.0.0.0]", "[::ffff:0:0]",
		"169.254.169.254", "0xa9fea9fe", "2852039166", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[fe80::1]", "[fe80::1%25eth0]", "[fd00:ec2::254]",
		"10.0.0.1", "10.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "0xc0a80101", "[::ffff:192.168.1.1]", "[fd00::1]", "[fc00::1]", "[fec0::1]",
		"100.64.0.1", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.250", "240.0.0.1", "255.255.255.255",
		"[ff02::1]", "[2001:db8::1]", "[2002:7f00:1::]", "[2002:a00:1::]", "[2001::1]", "[3fff::1]", "[64:ff9b:1::1]", "[100::1]", "[::ffff:0:127.0.0.1]",
		"127.0.0.1:8080", "dormouse.example:9998", "DORMOUSE.example.:9998",
	} {
		if err := p.Check("http://" + host + "/hook?a=b"); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: got %v", host, err)
		}
	}
	for _, host := range []string{
		"example.com", "example.com:8443", "8.8.8.8", "1.1.1.1:8080", "[2606:4700::1111]", "[::ffff:8.8.8.8]", "[64:ff9b::8.8.8.8]", "134744072", "dormouse.example",
		"127.0.0.1.nip.io", "localhost.example", "1.2.3.4.5", "0x7g.1", // names, which are looked up at each try
	} {
		if err := p.Check("http://" + host + "/hook"); err != nil {
			t.Errorf("%s: got %v", host, err)
		}
	}
}

// What is not a URL for webhooks is told apart from what is refused.
func TestNotForWebhooks(t *testing.T) {
	p := New(Options{})
	for url, want := range map[string]string{
		"": "http://", "example.com/x": "http://", "ftp://example.com/": "http://", "unix:///run/x": "http://", "http:///x": "no host", "http://:80/": "no host",
		"http://user@example.com/": "user name", "http://example.com@127.0.0.1/": "user name", "http://user:pass@example.com/": "user name",
		"http://①②⑦.0.0.1/": "ASCII", "http://bücher.example/": "ASCII", "http://127。0。0。1/": "ASCII",
		"http://example.com:0/": "port", "http://example.com:65536/": "port", "http://example.com:http/": "not a URL", "http://[::1/": "not a URL", "http://%31%32%37.0.0.1/": "not a URL",
		"http://example.com/" + strings.Repeat("x", maxURL): "more than",
	} {
		if err := p.Check(url); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: got %v, want %s", url, err, want)
		}
	}
}

// Allowed is what the operator names, and nothing beside it.
func TestAllow(t *testing.T) {
	for _, test := range []struct{ rule, name, address, refused string }{
		{"127.0.0.1", "localhost", "127.0.0.1:80", "127.0.0.2:80"},
		{"127.0.0.1:8080", "localhost", "127.0.0.1:8080", "127.0.0.1:8081"},
		{"127.0.0.1:8080", "localhost", "[::ffff:127.0.0.1]:8080", "[::1]:8080"},
		{"localhost", "localhost", "[::1]:80", "0.0.0.0:80"},
		{"10.0.0.0/8", "x", "10.200.0.1:80", "11.0.0.1:0"},
		{"10.0.0.0/8:443", "x", "10.200.0.1:443", "10.200.0.1:80"},
		{"fd00::/8", "x", "[fd12::1]:80", "[fe80::1]:80"},
		{"[fd00::/8]:443", "x", "[fd12::1]:443", "[fd12::1]:80"},
		{"::1", "x", "[::1]:80", "127.0.0.1:80"},
		{"[::1]:81", "x", "[::1]:81", "[::1]:80"},
		{":8080", "x", "192.168.1.1:8080", "192.168.1.1:8081"},
		{":80", "x", "192.168.1.1:80", "169.254.169.254:80"},
		{"metadata", "metadata", "10.0.0.1:80", "169.254.169.254:80"},
		{"169.254.169.254", "x", "169.254.169.254:80", "169.254.1.1:80"},
		{"Hooks.Internal", "hooks.internal.", "10.0.0.1:80", "0.0.0.0:80"},
		{"*.internal", "hooks.internal", "10.0.0.1:80", "224.0.0.1:80"},
		{"hooks.internal:8080", "hooks.internal", "10.0.0.1:8080", "10.0.0.1:80"},
	} {
		p := New(Options{Allow: rules(t, test.rule)})
		if err := p.Decide(test.name, netip.MustParseAddrPort(test.address)); err != nil {
			t.Errorf("%s: %v", test.rule, err)
		}
		if test.refused == "11.0.0.1:0" { // a public one
			continue
		}
		if err := p.Decide(test.name, netip.MustParseAddrPort(test.refused)); !errors.Is(err, ErrRefused) {
			t.Errorf("%s allows %s: %v", test.rule, test.refused, err)
		}
	}
	p := New(Options{Allow: rules(t, "hooks.internal", "*.internal.example")})
	for _, other := range []string{"internal", "xhooks.internal", "internal.example", "hooks.internal.evil.example", "10.0.0.1"} {
		if err := p.Decide(other, netip.MustParseAddrPort("10.0.0.1:80")); !errors.Is(err, ErrRefused) {
			t.Errorf("%s is allowed: %v", other, err)
		}
	}
}

func TestNoRule(t *testing.T) {
	for _, text := range []string{"", ":", ":0", ":70000", "a b", "10.0.0.0/33", "/8", "http://x", "x:y", "[::1", "*", "*."} {
		if r, err := ParseRule(text); err == nil {
			t.Errorf("%q became %q", text, r)
		}
	}
}

// The host's own ports are refused by each address that leads to them, whatever is allowed.
func TestOwnPorts(t *testing.T) {
	p := New(Options{
		Allow:          rules(t, "127.0.0.0/8", "::1", "192.168.0.0/16", "0.0.0.0"),
		OwnPorts:       func() []netip.AddrPort { return addressPorts("127.0.0.1:9998", "[::]:9999", "[fd00::5]:443") },
		LocalAddresses: func() []netip.Addr { return []netip.Addr{netip.MustParseAddr("192.168.1.5")} },
	})
	for _, own := range addressPorts("127.0.0.1:9998", "[::ffff:127.0.0.1]:9998", "127.0.0.1:9999", "127.9.9.9:9999", "[::1]:9999", "192.168.1.5:9999", "[fd00::5]:443") {
		if err := p.Decide("x", own); !errors.Is(err, ErrRefused) || !strings.Contains(err.Error(), "this host itself") {
			t.Errorf("%s: got %v", own, err)
		}
	}
	for _, other := range addressPorts("127.0.0.1:80", "127.0.0.2:9998", "192.168.1.5:9998", "192.168.1.6:9999") {
		if err := p.Decide("x", other); err != nil {
			t.Errorf("%s: got %v", other, err)
		}
	}
}

func addressPorts(texts ...string) (all []netip.AddrPort) {
	for _, text := range texts {
		all = append(all, netip.MustParseAddrPort(text))
	}
	return all
}

// What is dialed decides: a name that leads to this machine is refused, though its URL said
// nothing of that, and the connection is not made.
func TestDialled(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p := New(Options{})
	for _, host := range []string{"localhost", "127.0.0.1", "0x7f000001", "::ffff:127.0.0.1"} {
		c, err := p.DialContext(t.Context(), "tcp", net.JoinHostPort(host, port))
		if err == nil {
			_ = c.Close()
		}
		if host != "0x7f000001" && !errors.Is(err, ErrRefused) || err == nil { // not every resolver knows inet_aton(3)
			t.Errorf("%s: got %v", host, err)
		}
	}
	p.SetAllowed(rules(t, "localhost:"+port))
	c, err := p.DialContext(context.Background(), "tcp4", "localhost:"+port)
	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close()
	p.SetAllowed(nil)
	if _, err := p.DialContext(t.Context(), "tcp", "localhost:"+port); !errors.Is(err, ErrRefused) {
		t.Errorf("after it was forbidden: %v", err)
	}
}

// One target has one name, however its URL is spelled.
func TestHostPort(t *testing.T) {
	for url, want := range map[string]string{
		"http://Example.com/a": "example.com:80", "https://example.com.:443/b": "example.com:443", "https://example.com": "example.com:443",
		"http://127.1:8080/": "127.0.0.1:8080", "http://[::ffff:127.0.0.1]:8080/x": "127.0.0.1:8080", "http://[::1]/": "[::1]:80", "nothing": "",
	} {
		if got := HostPort(url); got != want {
			t.Errorf("%s: got %s, want %s", url, got, want)
		}
	}
	if got := fmt.Sprint(Rule{}); got != "" {
		t.Errorf("got %q", got)
	}
}
