package process

import (
	"strconv"
	"strings"
	"testing"

	"dormouse/shell/shellpb"
)

// A plugin may say only so much of itself.
func TestCheckInformation(t *testing.T) {
	names := func(n int) []string {
		all := make([]string, n)
		for i := range all {
			all[i] = "Name" + strconv.Itoa(i)
		}
		return all
	}
	for _, test := range []struct {
		info *shellpb.InformationResponse
		want string
	}{
		{&shellpb.InformationResponse{Name: "counter", Services: names(maxListedNames), Controls: names(maxListedNames)}, ""},
		{&shellpb.InformationResponse{Preconditions: names(60_000)}, "it lists 60000 preconditions, at most 256 are allowed"},
		{&shellpb.InformationResponse{Services: names(257)}, "it lists 257 services, at most 256 are allowed"},
		{&shellpb.InformationResponse{Terminations: []string{strings.Repeat("x", 1000)}}, "a text in its terminations has 1000 bytes, at most 256 are allowed"},
		{&shellpb.InformationResponse{Name: strings.Repeat("x", 1000)}, "a text in its name has 1000 bytes, at most 256 are allowed"},
		{&shellpb.InformationResponse{Description: strings.Repeat("x", 5000)}, "its description has 5000 bytes, at most 4096 are allowed"},
	} {
		got := ""
		if err := checkInformation(test.info); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}
