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

// maxVersion is the highest number that is read as a version.
const maxVersion = 254

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

	named := name[:dot]
	rest, version, found := CutVersion(named)
	d.Callsign, d.Version = rest, version
	if found && !strings.Contains(named, ".") {
		return d, nil // a version alone
	}
	if d.Callsign == "" || d.Callsign[0] == '.' || strings.HasSuffix(d.Callsign, ".") {
		return Designator{}, fmt.Errorf("%w: empty callsign in %.80q", ErrDesignator, method)
	}
	return d, nil
}

// CutVersion cuts the version off the end of a callsign: "X.1" becomes "X" and 1. For a
// number above 254 version is DefaultVersion. Without digits alone after the last dot, found
// is false and rest is the callsign.
func CutVersion(callsign string) (rest string, version int, found bool) {
	dot := strings.LastIndexByte(callsign, '.')
	digits := callsign[dot+1:]
	if digits == "" || strings.Trim(digits, "0123456789") != "" {
		return callsign, DefaultVersion, false
	}
	version, err := strconv.Atoi(digits)
	if err != nil || version > maxVersion {
		version = DefaultVersion
	}
	return callsign[:max(0, dot)], version, true
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
