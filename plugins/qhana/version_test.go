package qhana

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestRegistryVersion(t *testing.T) {
	for text, want := range map[string]string{
		"1.2.3":                        "1.2.3",
		"1.2.3-rc.1":                   "1.2.3-rc.1",
		"1.2.3+build.5":                "1.2.3+build.5",
		"v1.0":                         "v1.0",
		"1.0-1":                        "1.0-1",
		"1!2.0":                        "1!2.0",
		"1.2.3-beta.2+exp.sha.5114f85": "1.2.3-beta.2+exp.sha.5114f85",

		"1.2.3-snapshot":     "1.2.3.dev0+snapshot",
		"1.0.0-x.7":          "1.0.0.dev0+x.7",
		"1.0.0-alpha.beta":   "1.0.0.dev0+alpha.beta",
		"1.0.0-rc.1.2":       "1.0.0.dev0+rc.1.2",
		"1.2.3-x-y--z.1+b-7": "1.2.3.dev0+x.y.z.1.b.7",
		"1.2.3---":           "",
		"1.2.3.dev0+a..b":    "",
		"":                   "",
		"one":                "",
		"1.2.3-snap_shot":    "",
		"1.2.3-1.2.3":        "1.2.3.dev0+1.2.3",
		"01.2.3-snapshot":    "",
		"1.2.3-snapshot\n":   "",
		"1.2.3-Ünicode":      "",
		"1.0.0+build--5":     "1.0.0+build.5",
	} {
		got, ok := registryVersion(text)
		if got != want && want != "" || ok != (want != "") {
			t.Errorf("registryVersion(%q) = %q, %t; want %q", text, got, ok, want)
		}
	}
}

func TestCompareVersions(t *testing.T) {
	want := []string{"", "one", "0.9.0", "1.0.0-rc.1", "1.0.0", "1.2.0", "1.10.0"}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, compareVersions)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
