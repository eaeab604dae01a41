package targets

import (
	"net/netip"
	"strconv"
	"strings"
)

// kind is what sort of place an address is.
type kind string

const (
	public    kind = "a public address"
	loopback  kind = "an address of this machine"
	linkLocal kind = "an address on the local link"
	private   kind = "an address of a private network"
	special   kind = "an address that is reserved"
	unusable  kind = "an address of no single machine"
)

// reserved are the networks of IANA's registries of special-purpose addresses that are not
// reached over the Internet, besides those that kindOf asks netip for.
var reserved = prefixes(
	"100.64.0.0/10", // shared by the customers of a provider (RFC 6598)
	"192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
	"2001::/23", // Teredo and other protocols of the IETF
	"2001:db8::/32", "2002::/16", "3fff::/20",
)

// nowhere are the networks to which no request may go, whatever is allowed.
var nowhere = prefixes("0.0.0.0/8", "224.0.0.0/4", "240.0.0.0/4", "::/128", "ff00::/8")

// globalUnicast are the addresses of IPv6 that are given to machines on the Internet.
var globalUnicast = netip.MustParsePrefix("2000::/3")

// nat64 are the addresses that a translator leads to the IPv4 address in their last bytes.
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

func prefixes(all ...string) (parsed []netip.Prefix) {
	for _, one := range all {
		parsed = append(parsed, netip.MustParsePrefix(one))
	}
	return parsed
}

// plain returns the address that one with another form leads to: IPv4 written as IPv6, or
// reached through a translator, and without a zone.
func plain(address netip.Addr) netip.Addr {
	address = address.Unmap().WithZone("")
	if nat64.Contains(address) {
		bytes := address.As16()
		return netip.AddrFrom4([4]byte(bytes[12:]))
	}
	return address
}

// kindOf returns what sort of place a plain address is.
func kindOf(address netip.Addr) kind {
	switch {
	case !address.IsValid() || isIn(address, nowhere):
		return unusable
	case address.IsLoopback():
		return loopback
	case address.IsLinkLocalUnicast():
		return linkLocal
	case address.IsPrivate():
		return private
	case isIn(address, reserved), address.Is6() && !globalUnicast.Contains(address):
		return special
	}
	return public
}

func isIn(address netip.Addr, networks []netip.Prefix) bool {
	for _, network := range networks {
		if network.Contains(address) {
			return true
		}
	}
	return false
}

// spelledAddress returns the address that a host name of a URL spells, also in the forms that
// only inet_aton(3) knows: 127.1, 0x7f000001, 0177.0.0.1, 2130706433.
func spelledAddress(name string) (netip.Addr, bool) {
	if address, err := netip.ParseAddr(name); err == nil {
		return address, true
	}
	parts := strings.Split(name, ".")
	if len(parts) > 4 {
		return netip.Addr{}, false
	}
	var whole uint64
	for i, part := range parts {
		number, ok := spelledNumber(part)
		bits := 8
		if i == len(parts)-1 {
			bits = 8 * (5 - len(parts))
		}
		if !ok || number >= 1<<bits {
			return netip.Addr{}, false
		}
		whole = whole<<bits | number
	}
	return netip.AddrFrom4([4]byte{byte(whole >> 24), byte(whole >> 16), byte(whole >> 8), byte(whole)}), true
}

// spelledNumber reads a number as C does: 0x begins a hexadecimal one, 0 an octal one.
func spelledNumber(text string) (uint64, bool) {
	base := 10
	switch {
	case strings.HasPrefix(text, "0x"), strings.HasPrefix(text, "0X"):
		base, text = 16, text[2:]
	case len(text) > 1 && text[0] == '0':
		base, text = 8, text[1:]
	}
	number, err := strconv.ParseUint(text, base, 33)
	return number, err == nil
}
