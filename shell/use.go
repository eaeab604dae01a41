package shell

import (
	"cmp"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"
)

// FindIn returns the type of the profile that is what u looks for, the newest of several; false
// if the profile has none, or not the tags. A use without a type matches by its tags, and its
// range by the version of the profile.
func (u Use) FindIn(p Profile) (found Type, matches bool) {
	for _, tag := range u.Tags {
		unwanted, isUnwanted := strings.CutPrefix(tag, "!")
		if slices.Contains(p.Tags, unwanted) == isUnwanted {
			return Type{}, false
		}
	}
	if u.Type == "" {
		return Type{}, u.allows(p.Version)
	}
	for _, t := range p.Provides {
		if t.Name == u.Type && u.allows(t.Version) && (!matches || CompareVersions(t.Version, found.Version) > 0) {
			found, matches = t, true
		}
	}
	return found, matches
}

// allows reports whether the version is in the range of the use. An empty version counts as
// 0.0.0; one that is not semantic is in no range.
func (u Use) allows(version string) bool {
	allowed, err := u.versions()
	if allowed == nil || err != nil {
		return err == nil
	}
	v, err := semver.NewVersion(cmp.Or(version, "0.0.0"))
	return err == nil && allowed.Check(v)
}

// String returns the type with its range and tags, such as "minimizer ^1.2 (fast, !beta)".
func (u Use) String() string {
	var words []string
	for _, word := range []string{u.Type, u.Range} {
		if word != "" {
			words = append(words, word)
		}
	}
	if len(u.Tags) > 0 {
		words = append(words, "("+strings.Join(u.Tags, ", ")+")")
	}
	return strings.Join(words, " ")
}

// CompareVersions compares two versions as cmp.Compare does. One that is not semantic is lower
// than any that is.
func CompareVersions(a, b string) int {
	va, errA := semver.NewVersion(cmp.Or(a, "0.0.0"))
	vb, errB := semver.NewVersion(cmp.Or(b, "0.0.0"))
	switch {
	case errA != nil && errB != nil:
		return cmp.Compare(a, b)
	case errA != nil:
		return -1
	case errB != nil:
		return 1
	}
	return va.Compare(vb)
}
