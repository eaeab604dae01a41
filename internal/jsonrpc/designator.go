package jsonrpc

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// ErrDesignator means that the method of a request is not a designator.
var ErrDesignator = errors.New("the method is not a designator")

// DiscoverMethod is the only method whose name has a dot: JSON-RPC reserves names that
// begin with "rpc.".
const DiscoverMethod = "rpc.discover"

// DefaultVersion is the version of a designator that names none.
const DefaultVersion = 1

// Designator is the parsed method of a request:
//
//	[Callsign.][version.][prefix[#instance]::]method[@index]
type Designator struct {
	// Callsign may contain dots. It is empty if the HTTP path of the request names the
	// instance.
	Callsign string
	Version  int
	// Method includes the prefix and its instance.
	Method string
	Index  string
}

// ParseDesignator splits a method name. Digits alone before the method are the version;
// a number above 254 cannot be a version and is ignored. The error wraps ErrDesignator.
func ParseDesignator(method string) (Designator, error) {
	d := Designator{Version: DefaultVersion}
	name, index, _ := strings.Cut(method, "@")
	d.Index = index

	// A prefix has no dot, but its instance and the method may have one.
	head, _, _ := strings.Cut(name, "::")
	dot := strings.LastIndexByte(head, '.')
	if rest, ok := strings.CutSuffix(name, DiscoverMethod); ok && (rest == "" || strings.HasSuffix(rest, ".")) {
		dot = len(rest) - 1
	}
	d.Method = name[dot+1:]
	if err := checkPrefixAndNameNotEmpty(d.Method); err != nil {
		return Designator{}, fmt.Errorf("%w: %w in %.80q", ErrDesignator, err, method)
	}
	if dot < 0 {
		return d, nil
	}

	d.Callsign = name[:dot]
	last := d.Callsign[strings.LastIndexByte(d.Callsign, '.')+1:]
	if last != "" && strings.Trim(last, "0123456789") == "" {
		d.Callsign = strings.TrimSuffix(strings.TrimSuffix(d.Callsign, last), ".")
		if version, err := strconv.Atoi(last); err == nil && version <= 254 {
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

// checkPrefixAndNameNotEmpty returns an error if the method has an empty prefix or no
// name.
func checkPrefixAndNameNotEmpty(method string) error {
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
