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
		instanceRecord{Additions: dialect.Additions{PID: 1, Loading: &loading}}.detailsText(nil),
		explanationText(dialect.Explanation{State: "activated", Loading: &loading}),
	} {
		if !strings.Contains(text, "12 of 64 MiB") {
			t.Errorf("got:\n%s", text)
		}
	}
	for _, text := range []string{instanceRecord{Additions: dialect.Additions{PID: 1}}.detailsText(nil), explanationText(dialect.Explanation{State: "activated"})} {
		if strings.Contains(text, "MiB") {
			t.Errorf("got:\n%s", text)
		}
	}
}

// A wake tells what was read from disk, which is not the size of the image while its memory
// still comes in.
func TestReadFromDiskIsTold(t *testing.T) {
	before := instanceRecord{State: "hibernated", Additions: dialect.Additions{Image: &dialect.Image{Engine: "criu", Bytes: 64 << 20}}}
	for _, test := range []struct {
		after dialect.Additions
		want  string
	}{
		{dialect.Additions{ImageRead: 64 << 20}, ", 64 MiB read from disk"},
		{dialect.Additions{ImageRead: 63 << 20}, ", 63 MiB read from disk"},
		{dialect.Additions{ImageRead: 3 << 20, Loading: &shell.Progress{Done: 1 << 20, Total: 60 << 20}}, ", 3.0 MiB of 64 MiB read from disk so far"},
	} {
		got := describeActivation(before, instanceRecord{State: "suspended", Additions: test.after})
		if !strings.HasSuffix(got, test.want) {
			t.Errorf("got %q, want %q at its end", got, test.want)
		}
	}
}
