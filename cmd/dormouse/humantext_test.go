package main

import (
	"strings"
	"testing"
	"time"
)

func TestWordsForPeople(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{formatAge(59 * time.Second), "59s"},
		{formatAge(61 * time.Minute), "1h"},
		{formatAge(47 * time.Hour), "47h"},
		{formatAge(72 * time.Hour), "3d"},
		{formatAge(-time.Second), "0s"},
		{formatSeconds(520 * time.Millisecond), "0.52 s"},
		{wordsOfPascalCase("InstantiationFailed"), "instantiation failed"},
		{reasonText("Failure", "a\nb"), "failure: a; b"},
		{cutWithEllipsis("abcdef", 4), "abc…"},
		{similarOrKnownWordsText("Cuonter", []string{"Counter", "Echo"}), "; did you mean Counter?"},
		{similarOrKnownWordsText("Xyz", []string{"Counter", "Echo"}), "; there are Counter, Echo"},
		{withoutVersion("org.rdk.X.1"), "org.rdk.X"},
		{withoutVersion("org.rdk.X"), "org.rdk.X"},
		{countOf(0, "key"), "0 keys"},
		{countOf(1, "key"), "1 key"},
		{countOf(2, "key"), "2 keys"},
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}

// The last words of a plugin take one line of a table, and not all of it.
func TestErrorCell(t *testing.T) {
	for text, want := range map[string]string{
		"":                                      "",
		"a":                                     "a",
		"it has a socket\nit has a lock\n":      "it has a socket; it has a lock",
		"exited; its last words:\n  one\n  two": "exited; its last words: one; two",
		strings.Repeat("long\n", 1000):          strings.Repeat("long; ", 1000)[:maxCellWidth-1] + "…",
	} {
		if got := errorCell(text); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// An error of several lines stands below its name, line for line.
func TestTextRows(t *testing.T) {
	rows := table{}
	rows.addRow("state", "deactivated")
	rows.addTextRows("error", "exited; its last words:\n  one\n  two")
	rows.addTextRows("none", "")
	want := "state  deactivated\nerror  exited; its last words:\n         one\n         two\n"
	if got := rows.alignedText(0); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
