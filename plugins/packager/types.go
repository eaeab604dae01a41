package packager

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"dormouse/plugins/packager/manifest"
	"dormouse/plugins/packager/records"
)

// claim is what a package that is about to be installed takes: its types, callsigns and flows.
type claim struct {
	types     []string
	callsigns []string
	flows     []string // in lower case
}

// claimFor reserves the types and callsigns of a candidate, so that of two packages that are
// installed at once only one gets them. The error names both.
func (o *operation) claimFor(c candidate) error {
	wanted := claim{types: slices.Sorted(maps.Keys(c.version.Provides))}
	for _, plugin := range c.plugins {
		wanted.callsigns = append(wanted.callsigns, plugin.Callsign)
	}
	o.p.mu.Lock()
	defer o.p.mu.Unlock()
	for _, record := range o.p.records.All() {
		if record.Name == o.name || record.Serving == nil || record.State == records.Removing {
			continue
		}
		for _, name := range wanted.types {
			if _, taken := record.Serving.Provides[name]; taken {
				return sameTypeError(o.name, record.Name, name)
			}
		}
	}
	for other, taken := range o.p.claims {
		if other == o.name {
			continue
		}
		for _, name := range wanted.types {
			if slices.Contains(taken.types, name) {
				return sameTypeError(o.name, other, name)
			}
		}
		for _, callsign := range wanted.callsigns {
			if slices.ContainsFunc(taken.callsigns, func(c string) bool { return strings.EqualFold(c, callsign) }) {
				return sameCallsignError(o.name, "the package "+other, callsign)
			}
		}
	}
	for _, callsign := range wanted.callsigns {
		if err := o.p.checkCallsignFree(o.name, callsign); err != nil {
			return err
		}
	}
	wanted.flows = o.p.claims[o.name].flows
	o.p.claims[o.name] = wanted
	return nil
}

// checkCallsignFree returns an error if an instance that is not of this package has the callsign.
func (p *Packager) checkCallsignFree(name, callsign string) error {
	for _, sh := range p.instances.Shells() {
		if !strings.EqualFold(sh.Callsign(), callsign) {
			continue
		}
		source, found := p.instances.SourceOf(sh.Callsign())
		switch {
		case found && source == name && !p.isClone(sh.Callsign()):
		case found && source != "" && source != name:
			return sameCallsignError(name, "the package "+source, callsign)
		case sh.IsVirtual():
			return sameCallsignError(name, "a virtual plugin of "+sh.Parent(), callsign)
		case found && source == name:
			return sameCallsignError(name, "a clone", callsign)
		default:
			return sameCallsignError(name, "the configuration, a clone or the host", callsign)
		}
	}
	return nil
}

func sameTypeError(name, other, provided string) error {
	return fmt.Errorf("%w: the packages %s and %s both provide %s; uninstall %s first", ErrRefused, name, other, provided, other)
}

func sameCallsignError(name, other, callsign string) error {
	return fmt.Errorf("%w: the package %s and %s both have an instance %s", ErrRefused, name, other, callsign)
}

// usersOf returns the packages that use a type that only this package provides.
func (p *Packager) usersOf(record records.Record) (names []string) {
	if record.Serving == nil {
		return nil
	}
	for _, other := range p.records.All() {
		if other.Name == record.Name || other.Serving == nil {
			continue
		}
		for name := range other.Serving.Uses {
			if _, provided := record.Serving.Provides[name]; provided && !slices.Contains(names, other.Name) {
				names = append(names, other.Name)
			}
		}
	}
	return names
}

// missingTypes returns the types that a package uses and that no package provides in the range.
func (p *Packager) missingTypes(record records.Record) (missing []string) {
	all := p.records.All()
	for name, wanted := range record.Serving.Uses {
		provided := slices.ContainsFunc(all, func(other records.Record) bool {
			if other.Serving == nil {
				return false
			}
			version, ok := other.Serving.Provides[name]
			return ok && (manifest.Used{Type: name, Range: wanted}).IsMetBy(manifest.Provided{Type: name, Version: version})
		})
		if !provided {
			missing = append(missing, strings.TrimSpace(name+" "+wanted))
		}
	}
	slices.Sort(missing)
	return missing
}

// typeTexts returns types with their versions or ranges, sorted.
func typeTexts(types map[string]string) (all []string) {
	for _, name := range slices.Sorted(maps.Keys(types)) {
		all = append(all, strings.TrimSpace(name+" "+types[name]))
	}
	return all
}

func itoa(n int) string { return strconv.Itoa(n) }
