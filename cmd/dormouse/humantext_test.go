package main

import (
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
	} {
		if c.got != c.want {
			t.Errorf("got %q, want %q", c.got, c.want)
		}
	}
}
