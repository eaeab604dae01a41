package jsonrpc

import (
	"errors"
	"fmt"
	"strings"
)

// ErrDesignator means that a method name is not a designator.
var ErrDesignator = errors.New("the method is not a designator")

// Discover is the one method whose name has a dot: what begins with "rpc." is
// JSON-RPC's own.
const Discover = "rpc.discover"

// DefaultVersion is meant where no version is named.
const DefaultVersion = 1

// Designator is what the method of a request names:
//
//	[Callsign.][version.][prefix[#instance]::]method[@index]
type Designator struct {
	// Callsign may hold dots; empty when the request leaves it to the path.
	Callsign string
	Version  int
	// Method includes the prefix and its instance.
	Method string
	Index  string
}

// ParseDesignator splits a method name. A token of digits before the method is
// the version; one above 254 is no version of anything and is ignored. The
// error wraps ErrDesignator.
func ParseDesignator(method string) (Designator, error) {
	d := Designator{Version: DefaultVersion}
	name, index, _ := strings.Cut(method, "@")
	d.Index = index

	// The prefix may not hold a dot, what follows it may.
	head, _, _ := strings.Cut(name, "::")
	dot := strings.LastIndexByte(head, '.')
	if rest, ok := strings.CutSuffix(name, Discover); ok && (rest == "" || strings.HasSuffix(rest, ".")) {
		dot = len(rest) - 1
	}
	d.Method = name[dot+1:]
	if err := checkMethod(d.Method); err != nil {
		return Designator{}, fmt.Errorf("%w: %w in %.80q", ErrDesignator, err, method)
	}
	if dot < 0 {
		return d, nil
	}

	d.Callsign = name[:dot]
	last := d.Callsign[strings.LastIndexByte(d.Callsign, '.')+1:]
	if version, ok := digits(last); ok {
		d.Callsign = strings.TrimSuffix(strings.TrimSuffix(d.Callsign, last), ".")
		if version <= 254 {
			d.Version = version
		}
		if len(last) == dot {
			return d, nil // a version alone
		}
	}
	if d.Callsign == "" || d.Callsign[0] == '.' || strings.HasSuffix(d.Callsign, ".") {
		return Designator{}, fmt.Errorf("%w: empty callsign in %.80q", ErrDesignator, method)
	}
	return d, nil
}

func checkMethod(method string) error {
	prefix, rest, found := strings.Cut(method, "::")
	if !found {
		rest = method
	}
	if found && (prefix == "" || prefix[0] == '#') {
		return errors.New("empty prefix")
	}
	if rest == "" {
		return errors.New("no name of a method")
	}
	return nil
}

// digits returns the number that s is, at most 255.
func digits(s string) (n int, ok bool) {
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = min(10*n+int(c-'0'), 255)
	}
	return n, s != ""
}
