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
