package qhana

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// listed is an instance as QHAna sees it: a plugin with a name and a version.
type listed struct {
	Instance
	name, version string
	identifier    string // of name and version, in addresses
}

// isForQHAna reports whether QHAna may see the instance: others can start work of it, or it is a
// virtual plugin.
func (i Instance) isForQHAna() bool { return i.IsKnown && (i.Profile.Entry != nil || i.Parent != "") }

// unsafeInName are the characters that QHAna's names must not have.
var unsafeInName = regexp.MustCompile(`[^A-Za-z0-9._~-]+`)

// identifierOf returns the identifier of a plugin in QHAna's form.
func identifierOf(name, version string) string {
	return strings.ReplaceAll(name, ".", "-") + "@" + strings.ReplaceAll(version, ".", "-")
}

// listing returns the plugins that QHAna sees, sorted by name and version: virtual plugins, and
// instances that others can start work of. Instances of one program have their callsigns as names,
// except for the first. One whose version no registry can parse is left out, with a warning.
func (q *QHAna) listing() []listed {
	all := q.Instances.All()
	slices.SortFunc(all, func(a, b Instance) int {
		return cmp.Or(cmp.Compare(a.Parent, b.Parent), cmp.Compare(a.Callsign, b.Callsign))
	})
	var plugins []listed
	taken := make(map[string]bool)
	for _, one := range all {
		if !one.isForQHAna() {
			continue
		}
		version, ok := registryVersion(cmp.Or(one.Profile.Version, one.Version))
		if !ok {
			q.warn(one, "its version is not one of PEP 440, and can't be mapped to one: registries would skip all plugins after it")
			continue
		}
		p := listed{Instance: one, version: version}
		for _, name := range []string{cmp.Or(one.Profile.Name, one.Class), one.Callsign} {
			p.name = unsafeInName.ReplaceAllString(name, "-")
			p.identifier = identifierOf(p.name, version)
			if !taken[p.identifier] {
				break
			}
		}
		if taken[p.identifier] {
			q.warn(one, "another plugin has its name and version")
			continue
		}
		taken[p.identifier] = true
		plugins = append(plugins, p)
	}
	slices.SortFunc(plugins, func(a, b listed) int {
		return cmp.Or(cmp.Compare(a.name, b.name), compareVersions(a.version, b.version))
	})
	return plugins
}

// warn logs once for each version of an instance that it is left out.
func (q *QHAna) warn(one Instance, why string) {
	key := one.Callsign + "@" + one.Profile.Version
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.warned[key] {
		q.warned[key] = true
		q.Log.Warn().Str("callsign", one.Callsign).Str("version", cmp.Or(one.Profile.Version, one.Version)).
			Str("why", why).Msg("QHAna does not see a plugin")
	}
}

// find returns the plugin of that identifier.
func (q *QHAna) find(identifier string) (listed, bool) {
	plugins := q.listing()
	i := slices.IndexFunc(plugins, func(p listed) bool { return p.identifier == identifier })
	if i < 0 {
		return listed{}, false
	}
	return plugins[i], true
}

// newest returns the plugin of that name with the newest version.
func (q *QHAna) newest(name string) (newest listed, found bool) {
	for _, p := range q.listing() {
		if p.name == name || strings.ReplaceAll(p.name, ".", "-") == name {
			newest, found = p, true // later ones are newer
		}
	}
	return newest, found
}
