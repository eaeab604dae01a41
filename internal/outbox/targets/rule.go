package targets

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// Rule allows targets that are not public: by the host name in their URL, by a network, by a
// port, or by one of the former two and a port.
type Rule struct {
	name    string       // lower case; "*.example" stands for all names below example
	network netip.Prefix // valid if the rule is about addresses
	port    uint16       // 0 for all ports
}

// ParseRule reads a rule: "host.internal", "*.internal", "10.0.0.0/8", "::1", ":8080", and with a
// port "host.internal:8080", "10.0.0.0/8:8080", "[fd00::/8]:8080".
func ParseRule(text string) (Rule, error) {
	where, port, err := splitPort(text)
	if err == nil {
		var r Rule
		if r, err = parseWhere(where); err == nil {
			r.port = port
			if r.name == "" && !r.network.IsValid() && port == 0 {
				err = errors.New("it is empty")
			}
		}
		if err == nil {
			return r, nil
		}
	}
	return Rule{}, fmt.Errorf(`%q is not a host name, an address, a network such as "10.0.0.0/8" or a port such as ":8080": %w`, text, err)
}

// splitPort returns what stands before the port of a rule, and the port, 0 if there is none.
func splitPort(text string) (where string, port uint16, err error) {
	at := strings.LastIndexByte(text, ':')
	bracketed := strings.HasPrefix(text, "[")
	if at < 0 || strings.Count(text, ":") > 1 && !bracketed || bracketed && strings.HasSuffix(text, "]") {
		return unbracketed(text), 0, nil
	}
	number, err := strconv.ParseUint(text[at+1:], 10, 16)
	if err != nil || number == 0 {
		return "", 0, errors.New("a port is a number from 1 to 65535")
	}
	return unbracketed(text[:at]), uint16(number), nil
}

func unbracketed(text string) string {
	if strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]") {
		return text[1 : len(text)-1]
	}
	return text
}

// parseWhere reads a rule without its port.
func parseWhere(where string) (Rule, error) {
	if where == "" {
		return Rule{}, nil
	}
	if strings.Contains(where, "/") {
		network, err := netip.ParsePrefix(where)
		if err != nil {
			return Rule{}, errors.New("a network is an address, a slash and the number of its leading bits")
		}
		return Rule{network: network.Masked()}, nil
	}
	if address, spelled := spelledAddress(where); spelled {
		address = plain(address)
		return Rule{network: netip.PrefixFrom(address, address.BitLen())}, nil
	}
	name := normalName(where)
	if !isName(strings.TrimPrefix(name, "*.")) {
		return Rule{}, errors.New("a host name has letters, digits, dots, hyphens and underscores")
	}
	return Rule{name: name}, nil
}

// normalName returns a host name as names are compared.
func normalName(name string) string { return strings.TrimSuffix(strings.ToLower(name), ".") }

func isName(name string) bool {
	for _, c := range name {
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '.' && c != '-' && c != '_' {
			return false
		}
	}
	return name != ""
}

// allows reports whether the rule allows the plain address, to which a URL with that host name
// has led. One on the local link must be named by its network or address, for clouds give
// their machines' secrets there.
func (r Rule) allows(name string, address netip.Addr, port uint16) bool {
	switch {
	case r.port != 0 && r.port != port:
		return false
	case r.network.IsValid():
		return r.network.Contains(address)
	case address.IsLinkLocalUnicast():
		return false
	}
	return r.name == "" || r.matches(normalName(name))
}

// matches reports whether the rule is about that name.
func (r Rule) matches(name string) bool {
	if below, isBelow := strings.CutPrefix(r.name, "*"); isBelow {
		return strings.HasSuffix(name, below)
	}
	return r.name == name
}

// String returns the rule as ParseRule reads it.
func (r Rule) String() string {
	where := r.name
	if r.network.IsValid() {
		where = r.network.String()
		if r.network.IsSingleIP() {
			where = r.network.Addr().String()
		}
		if r.port != 0 && r.network.Addr().Is6() {
			where = "[" + where + "]"
		}
	}
	if r.port == 0 {
		return where
	}
	return where + ":" + strconv.Itoa(int(r.port))
}
