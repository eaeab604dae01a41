package main

import (
	"strings"
	"testing"

	"dormouse/plugins/controller/dialect"
	"dormouse/shell"
)

// How much of a plugin's memory is there is told as long as it is not all of it.
func TestLoadingIsTold(t *testing.T) {
	loading := shell.Progress{Done: 12 << 20, Total: 64 << 20}
	for _, text := range []string{
		instanceRecord{Additions: dialect.Additions{PID: 1, Loading: &loading}}.detailsText(),
		explanationText(dialect.Explanation{State: "activated", Loading: &loading}),
	} {
		if !strings.Contains(text, "12 of 64 MiB") {
			t.Errorf("got:\n%s", text)
		}
	}
	for _, text := range []string{instanceRecord{Additions: dialect.Additions{PID: 1}}.detailsText(), explanationText(dialect.Explanation{State: "activated"})} {
		if strings.Contains(text, "MiB") {
			t.Errorf("got:\n%s", text)
		}
	}
}
