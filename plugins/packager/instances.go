package packager

import (
	"dormouse/configs"
	"dormouse/plugins/packager/records"
	"dormouse/shell"
	"dormouse/statecontrol"
)

// States in which instances are noted, besides those of shell.
const (
	wasSuspended = "suspended"       // active and suspended
	wasInPlace   = "sleeps in place" // hibernated, without an image on disk
)

// ran reports whether an instance that was in that state is to be started again.
func ran(state string) bool {
	switch shell.State(state) {
	case shell.Activated, shell.Activation, shell.Hibernated, shell.Hibernating, shell.Waking, shell.Precondition, wasSuspended, wasInPlace:
		return true
	default:
		return false
	}
}

// shellsOf returns the instances of a package, its clones among them.
func (p *Packager) shellsOf(name string) (all []*shell.Shell) {
	for _, sh := range p.instances.Shells() {
		if source, ok := p.instances.SourceOf(sh.Callsign()); ok && source == name {
			all = append(all, sh)
		}
	}
	return all
}

// callsignsOf returns the callsigns of the plugins, and then those of the clones that follow an
// instance of the package.
func (p *Packager) callsignsOf(name string, plugins []configs.Plugin) (all []string) {
	for _, plugin := range plugins {
		all = append(all, plugin.Callsign)
	}
	for _, sh := range p.shellsOf(name) {
		if p.isClone(sh.Callsign()) {
			all = append(all, sh.Callsign())
		}
	}
	return all
}

// isClone reports whether an instance was made at run time.
func (p *Packager) isClone(callsign string) bool {
	_, cloned := p.instances.CloneSource(callsign)
	return cloned
}

// instanceStates returns the states of the instances of a package.
func (p *Packager) instanceStates(name string) map[string]string {
	all := make(map[string]string)
	for _, sh := range p.shellsOf(name) {
		state, control := sh.StateAndControl()
		all[sh.Callsign()] = string(state)
		switch sleep := sh.Status().Sleep; {
		case state == shell.Activated && control == statecontrol.Suspended:
			all[sh.Callsign()] = wasSuspended
		case state == shell.Hibernated && sleep != nil && sleep.Kind == shell.InPlace:
			all[sh.Callsign()] = wasInPlace
		}
	}
	return all
}

// slept reports whether an instance that was in that state was hibernated.
func slept(state string) bool { return state == string(shell.Hibernated) || state == wasInPlace }

// pluginsOf returns the instances of a package as the record says: those of the version that
// serves, and in the middle of a switch those of the version before that were not replaced yet.
func (p *Packager) pluginsOf(record records.Record) ([]configs.Plugin, error) {
	if record.Serving == nil || record.State == records.Removing {
		return nil, nil
	}
	serving, err := p.readCandidate(record.Name, *record.Serving)
	if err != nil {
		return nil, err
	}
	plugins := serving.plugins
	if op := record.Operation; op != nil && record.State == records.Installing && op.Phase == records.Switching && !op.Cold && record.Previous != nil {
		before, err := p.readCandidate(record.Name, *record.Previous)
		if err != nil {
			return nil, err
		}
		plugins = mixed(before.plugins, serving.plugins, op.Kept)
	}
	if whyRefused(record) != nil {
		plugins = asRefused(plugins)
	}
	return plugins, nil
}

// mixed returns the instances in the middle of a switch: of those that both versions have, the
// one before as long as its data is not kept.
func mixed(before, after []configs.Plugin, kept map[string]bool) (all []configs.Plugin) {
	for _, plugin := range before {
		if !kept[plugin.Callsign] {
			all = append(all, plugin)
		}
	}
	for _, plugin := range after {
		if kept[plugin.Callsign] {
			all = append(all, plugin)
		}
	}
	return all
}
