package tasks

import (
	"errors"
	"strings"
	"testing"
)

// Wrong parameters are told by their names, in words.
func TestWordsForWrongParameters(t *testing.T) {
	for params, want := range map[string]string{
		`{"task": 1}`:  `"task" must be a string, not a number`,
		`{"other": 1}`: `"other" is not known here`,
		`[]`:           "the whole must be an object, not an array",
	} {
		var to struct {
			Named string `json:"task"`
		}
		if err := readParams([]byte(params), &to); !errors.Is(err, ErrInvalid) || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", params, err, want)
		}
	}
}

// An address that is none, and a content type that is none, are refused.
func TestAddressesAndMediaTypes(t *testing.T) {
	for href, valid := range map[string]bool{"": true, "steps/1": true, "../a?b#c": true, "https://a.example/x": true, "::": false, "http://[": false, "%zz": false} {
		if err := checkHref("it", href); (err == nil) != valid || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", href, err)
		}
	}
	for media, valid := range map[string]bool{"": true, "text/plain": true, "text/plain; charset=utf-8": true, "nonsense": false, "a/b/c": false, "text/": false} {
		if err := checkMediaType("it", media); (err == nil) != valid || err != nil && !errors.Is(err, ErrInvalid) {
			t.Errorf("%q: %v", media, err)
		}
	}
}
