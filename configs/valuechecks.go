package configs

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"dormouse/internal/editdistance"
	"dormouse/internal/jsonrpc"
)

// ControllerCallsign is the callsign of the host itself. No configured instance may
// have it.
const ControllerCallsign = "Controller"

var callsignForm = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_.-]{0,63}$`)

// CheckCallsign returns an error if the name cannot be the callsign of an instance. A
// callsign that passes is safe as a file name and as one segment of a URL, and calls to it
// are read as calls to it.
func CheckCallsign(name string) error {
	switch {
	case name == "":
		return errors.New("a callsign must not be empty")
	case !callsignForm.MatchString(name):
		return fmt.Errorf(`%q is not a callsign: it must be a letter, then at most 63 letters, digits, "_", "." or "-"`, name)
	case strings.Contains(name, "..") || strings.HasSuffix(name, "."):
		return fmt.Errorf(`%q is not a callsign: it must not hold ".." nor end in "."`, name)
	case strings.EqualFold(name, ControllerCallsign):
		return fmt.Errorf("the callsign %q is reserved: the host itself answers to it", name)
	case strings.EqualFold(name, "communicator"), strings.EqualFold(name, "control"):
		return fmt.Errorf("the callsign %q is reserved: a socket of the host is called so, beside the instances' directories", name)
	}
	if err := jsonrpc.CheckCallsign(name); err != nil {
		return fmt.Errorf("%q can't be a callsign: %w", name, err)
	}
	return nil
}

// checkWebOrigin returns an error if the origin is neither scheme://host, with a port or
// without, nor what browsers send for pages in files: file:// or null.
func checkWebOrigin(origin string) error {
	if origin == "file://" || origin == "null" {
		return nil
	}
	u, err := url.Parse(origin)
	if err != nil || u.Host == "" || strings.Contains(u.Host, "*") || origin != u.Scheme+"://"+u.Host {
		return fmt.Errorf("%q is not a web origin such as \"https://tv.example:8443\", nor file:// or null", origin)
	}
	return nil
}

// checkHostName returns an error if the name is empty or has a character that no host name
// has.
func checkHostName(name string) error {
	if name == "" || strings.ContainsAny(name, "/@*, \t") {
		return fmt.Errorf("%q is not a host name such as \"tv.example\"", name)
	}
	return nil
}

// Builtins are the built-ins that a configured instance may be.
var Builtins = []string{"Monitor"}

// checkBuiltin returns an error if the host has no built-in of that name. "" stands for none.
func checkBuiltin(name string) error {
	if name == "" || slices.Contains(Builtins, name) {
		return nil
	}
	return fmt.Errorf("there is no builtin %q, only: %s%s", name, strings.Join(Builtins, ", "), didYouMeanText(name, Builtins))
}

// checkNotEmpty returns an error if s is "".
func checkNotEmpty(s string) error {
	if s == "" {
		return errors.New("must not be empty")
	}
	return nil
}

// checkOneOf returns an error if the word is not one of the allowed words. The error
// suggests the allowed word that is spelled most like it.
func checkOneOf[T ~string](word T, allowed []T) error {
	var names, quoted []string
	for _, a := range allowed {
		if word == a {
			return nil
		}
		names = append(names, string(a))
		quoted = append(quoted, strconv.Quote(string(a)))
	}
	last := len(quoted) - 1
	return fmt.Errorf("%q is not %s or %s%s", string(word),
		strings.Join(quoted[:last], ", "), quoted[last], didYouMeanText(string(word), names))
}

// didYouMeanText returns the text ": did you mean ...?" with the known word that is
// spelled most like the word, "" if none is similar. The text ends an error about an
// unknown word.
func didYouMeanText(word string, known []string) string {
	if near := nearestSimilarWord(word, known); near != "" {
		return fmt.Sprintf(": did you mean %q?", near)
	}
	return ""
}

// nearestSimilarWord returns the known word that is spelled most like the word, "" if
// none is similar. It ignores case, takes "_" for "-", and accepts the first letters of a
// known word.
func nearestSimilarWord(word string, known []string) string {
	word = strings.ReplaceAll(strings.ToLower(word), "_", "-")
	best, least := "", 1+(len(word)+2)/3
	for _, k := range known {
		d := editdistance.Of(word, k)
		if len(word) >= 3 && strings.HasPrefix(k, word) {
			d = min(d, 1)
		}
		if d < least {
			best, least = k, d
		}
	}
	return best
}
