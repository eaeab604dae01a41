package thunder

import (
	"testing"

	"dormouse/shell"
)

func TestParseVersion(t *testing.T) {
	for text, want := range map[string]shell.Version{
		"v1.2.3":           {Major: 1, Minor: 2, Patch: 3},
		"0.10.0-4-gabc":    {Minor: 10},
		"abcdef-dirty":     {},
		"dev":              {},
		"":                 {},
		"v99999999999.1.1": {},
	} {
		if got := ParseVersionOrZero(text); got != want {
			t.Errorf("ParseVersion(%q) = %+v", text, got)
		}
	}
}
