package shell

import (
	"cmp"
	"fmt"
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

// UnmetUse is a use of an instance that does not lead to one provider.
type UnmetUse struct {
	Callsign string // of the user
	Use      Use
	// Candidates are the callsigns of the providers, of which there are none or several, or not
	// the one that the configuration names.
	Candidates []string
	// Named is the callsign that the configuration of the user names, "" for none.
	Named string
}

// UnmetUses returns the uses of the instance of that callsign that do not lead to one provider.
// all holds the profiles of all instances.
func UnmetUses(callsign string, configuration map[string]any, all map[string]Profile) (unmet []UnmetUse) {
	for _, u := range all[callsign].Uses {
		var candidates []string
		for other, profile := range all {
			if _, provides := u.FindIn(profile); provides && other != callsign {
				candidates = append(candidates, other)
			}
		}
		slices.Sort(candidates)
		named, _ := configuration[u.Parameter].(string)
		if named == "" && len(candidates) == 1 || slices.Contains(candidates, named) {
			continue
		}
		unmet = append(unmet, UnmetUse{callsign, u, candidates, named})
	}
	return unmet
}

// String says what is missing or ambiguous, and what to do.
func (u UnmetUse) String() string {
	text := u.Callsign + " uses " + u.Use.String()
	switch {
	case len(u.Candidates) == 0:
		return text + ", which no instance provides"
	case u.Named != "":
		return fmt.Sprintf("%s, which %s does not provide, only %s", text, u.Named, strings.Join(u.Candidates, ", "))
	}
	text += fmt.Sprintf(", which is ambiguous: %s provide it", strings.Join(u.Candidates, ", "))
	if u.Use.Parameter != "" {
		text += fmt.Sprintf("; name one as %q in its configuration", u.Use.Parameter)
	}
	return text
}
