package targets

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// maxURL is how long a URL may be, in bytes.
const maxURL = 8 << 10

// Check returns why no request can go to the URL, as far as that can be known before its name
// is resolved. An error that wraps ErrRefused means that its place is not allowed.
func (p *Policy) Check(rawURL string) error {
	u, port, err := parse(rawURL)
	if err != nil {
		return err
	}
	name := normalName(u.Hostname())
	if p.isOwnName(name, port) {
		return fmt.Errorf("%w: %s is the address of this host itself", ErrRefused, u.Host)
	}
	address, spelled := spelledAddress(name)
	switch {
	case spelled:
		return p.Decide(name, netip.AddrPortFrom(address, port))
	case isLocalName(name):
		return p.Decide(name, netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port))
	}
	return nil
}

// isOwnName reports whether others reach this host under that name and port.
func (p *Policy) isOwnName(name string, port uint16) bool {
	at := strings.LastIndexByte(p.options.OwnName, ':')
	if at < 0 {
		return false
	}
	return normalName(unbracketed(p.options.OwnName[:at])) == name && p.options.OwnName[at+1:] == strconv.Itoa(int(port))
}

// parse returns the URL, which must have all that a request needs, and its port.
func parse(rawURL string) (*url.URL, uint16, error) {
	if len(rawURL) > maxURL {
		return nil, 0, fmt.Errorf("the URL has more than %d bytes", maxURL)
	}
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, 0, errors.New("it is not a URL")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, 0, errors.New("a URL for webhooks begins with http:// or https://")
	case u.Hostname() == "":
		return nil, 0, errors.New("the URL names no host")
	case u.User != nil:
		return nil, 0, errors.New("the URL must not hold a user name; let a secret sign the webhooks instead")
	case !isASCII(u.Hostname()):
		return nil, 0, errors.New("the host of the URL must be written in ASCII, a name of other letters as xn--…")
	}
	port, err := portOf(u)
	return u, port, err
}

// HostPort returns the host and port to which a request for the URL goes, in one spelling;
// "" for what is not a URL for webhooks.
func HostPort(rawURL string) string {
	u, port, err := parse(rawURL)
	if err != nil {
		return ""
	}
	name := normalName(u.Hostname())
	if address, spelled := spelledAddress(name); spelled {
		return netip.AddrPortFrom(plain(address), port).String()
	}
	return name + ":" + strconv.Itoa(int(port))
}

// portOf returns the port of a URL with the scheme http or https.
func portOf(u *url.URL) (uint16, error) {
	switch {
	case u.Port() != "":
		port, err := strconv.ParseUint(u.Port(), 10, 16)
		if err != nil || port == 0 {
			return 0, errors.New("the port of the URL must be a number from 1 to 65535")
		}
		return uint16(port), nil
	case u.Scheme == "https":
		return 443, nil
	}
	return 80, nil
}

func isASCII(text string) bool {
	for i := range len(text) {
		if text[i] >= 0x80 {
			return false
		}
	}
	return true
}
