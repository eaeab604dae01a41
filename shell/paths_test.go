package shell_test

import (
	"testing"

	"dormouse/shell"
)

func TestSubstitutePaths(t *testing.T) {
	p := shell.Paths{Callsign: "Net", Persistent: "/p/Net", Volatile: "/v/Net", Data: "/d/net", System: "/s"}
	for text, want := range map[string]string{
		"":                                       "",
		"plain":                                  "plain",
		"%callsign%":                             "Net",
		"--db=%persistentpath%/%callsign%.db":    "--db=/p/Net/Net.db",
		"%volatilepath%:%datapath%:%systempath%": "/v/Net:/d/net:/s",
		"100%":                                   "100%",
		"%d of %unknownpath%":                    "%d of %unknownpath%",
		"%%callsign%%":                           "%Net%",
		"%CALLSIGN%":                             "%CALLSIGN%",
	} {
		if got := shell.SubstitutePaths(text, p); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	// What is put in is not looked at again.
	if got := shell.SubstitutePaths("%datapath%", shell.Paths{Callsign: "Net", Data: "/d/%callsign%"}); got != "/d/%callsign%" {
		t.Errorf("got %q", got)
	}
}
