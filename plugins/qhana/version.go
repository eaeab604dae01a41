package qhana

import (
	"cmp"
	"regexp"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// pythonVersion is what PEP 440 takes for a version, by its appendix B.
var pythonVersion = regexp.MustCompile(`(?i)^v?(\d+!)?\d+(\.\d+)*` +
	`([-_.]?(alpha|a|beta|b|preview|pre|c|rc)[-_.]?\d*)?` +
	`(-\d+|[-_.]?(post|rev|r)[-_.]?\d*)?` +
	`([-_.]?dev[-_.]?\d*)?` +
	`(\+[a-z0-9]+([-_.][a-z0-9]+)*)?$`)

// registryVersion returns the version as registries can parse it: the text itself if that is a
// version by PEP 440, else for a semantic version one that has its numbers and, as a local
// version, its other parts. It returns false for any other text: one such would make a registry
// skip all plugins after it.
func registryVersion(text string) (string, bool) {
	if pythonVersion.MatchString(text) {
		return text, true
	}
	v, err := semver.StrictNewVersion(text)
	if err != nil {
		return "", false
	}
	core := semver.New(v.Major(), v.Minor(), v.Patch(), "", "").String()
	rest := strings.Trim(otherThanLocal.ReplaceAllString(strings.TrimPrefix(text, core), "."), ".")
	mapped := core + "+" + rest
	if v.Prerelease() != "" {
		mapped = core + ".dev0+" + rest
	}
	return mapped, pythonVersion.MatchString(mapped)
}

// otherThanLocal is what a semantic version has between the words of a local version.
var otherThanLocal = regexp.MustCompile(`[-+.]+`)

// compareVersions orders versions from old to new; texts that are no semantic versions come
// first.
func compareVersions(a, b string) int {
	va, erra := semver.NewVersion(a)
	vb, errb := semver.NewVersion(b)
	switch {
	case erra == nil && errb == nil:
		return cmp.Or(va.Compare(vb), cmp.Compare(a, b))
	case erra == nil:
		return 1
	case errb == nil:
		return -1
	}
	return cmp.Compare(a, b)
}
