package supervisor

import (
	"maps"
	"slices"

	"dormouse/configs"
)

// CloneSource says where a clone has its configuration from.
type CloneSource struct {
	// Of is the callsign of the instance that the clone was made from.
	Of string
	// Gone reports whether that instance no longer exists. The clone keeps its last
	// configuration.
	Gone bool
	// Own are the keys that the clone does not have from its source, such as
	// "configuration.url".
	Own []string
}

// CloneSource returns where the clone of that callsign has its configuration from; false if
// no clone has that callsign. It waits for no change.
func (s *Supervisor) CloneSource(callsign string) (CloneSource, bool) {
	source, ok := (*s.definitions.cloneSources.Load())[callsign]
	return source, ok
}

// publishSources makes the present sources of all instances known to readers, and returns and
// logs the clones whose source has gone since the last time.
func (s *Supervisor) publishSources() (orphaned []string) {
	d := s.definitions
	before := *d.cloneSources.Load()
	all := make(map[string]CloneSource, len(d.clones))
	for _, callsign := range slices.Sorted(maps.Keys(d.clones)) {
		c := d.clones[callsign]
		_, there := d.sourceConfig(c)
		all[callsign] = CloneSource{Of: c.Of, Gone: !there, Own: d.ownKeys(c)}
		if !there && !before[callsign].Gone {
			orphaned = append(orphaned, callsign)
			s.log.Warn().Str("callsign", callsign).Str("of", c.Of).AnErr("because", s.WhyMissing(c.Of)).Msg("the source of this clone is gone, the clone keeps its last configuration")
		}
	}
	d.cloneSources.Store(&all)
	d.sources.Store(d.sourcesByCallsign())
	return orphaned
}

// detachClonesOf makes the clones of that instance keep their present configuration, also
// when another instance gets the callsign.
func (s *Supervisor) detachClonesOf(callsign string) error {
	for clone, c := range s.definitions.clones {
		if c.Of != callsign || c.Detached {
			continue
		}
		c.Detached = true
		if err := s.definitions.keptClones.Put(clone, c); err != nil {
			return err
		}
		s.definitions.clones[clone] = c
	}
	return nil
}

// ownKeys returns the keys that a clone does not have from its source. Of what was set in the
// plugin's own table, each member is one.
func (d *definitions) ownKeys(c clone) []string {
	keys := append([]string(nil), c.Own...) // nil rather than empty
	o, ok := d.overrides[c.Plugin.Callsign]
	switch {
	case !ok:
	case o.Partly:
		for _, member := range append(slices.Sorted(maps.Keys(o.Values)), o.Without...) {
			keys = append(keys, "configuration."+member)
		}
	default:
		keys = append(keys, "configuration")
	}
	return keys
}

// sourceConfig returns the configuration of the clone's source, with the source's override;
// false if the source is gone, or has become a part of the host.
func (d *definitions) sourceConfig(c clone) (_ configs.Plugin, there bool) {
	if c.Detached {
		return configs.Plugin{}, false
	}
	source, found := d.config(c.Of)
	return source, found && source.Builtin == ""
}

// followSources gives each clone the configuration of its source, except for its own keys,
// and returns those that had another one before. A clone of an earlier host, which is a full
// copy, first gets as its own what differs from its source now; such clones are in upgraded,
// too.
func (d *definitions) followSources() (changed, upgraded []string) {
	visited := make(map[string]bool, len(d.clones))
	var follow func(callsign string)
	follow = func(callsign string) {
		c, ok := d.clones[callsign]
		if !ok || visited[callsign] {
			return
		}
		visited[callsign] = true // before the source, in case clones follow each other in a circle
		follow(c.Of)
		source, there := d.sourceConfig(c)
		if !there {
			return
		}
		before := c
		if c.Version < cloneVersion {
			d.replaceCopyByDifferences(&c, source)
			upgraded = append(upgraded, callsign)
		}
		c.Plugin = source.WithKeysOf(c.Plugin, append([]string{"callsign"}, c.Own...))
		if !isSameJSON(before, c) {
			changed = append(changed, callsign)
		}
		d.clones[callsign] = c
	}
	for _, callsign := range slices.Sorted(maps.Keys(d.clones)) {
		follow(callsign)
	}
	return changed, upgraded
}

// replaceCopyByDifferences gives a clone that is a full copy of its source as it once was the
// keys in which it differs from the source as it is, so that its configuration stays the
// same. What differs in the plugin's own table becomes an override.
func (d *definitions) replaceCopyByDifferences(c *clone, source configs.Plugin) {
	table := d.withOverride(c.Plugin).Configuration
	if o := partialOverride(source.Configuration, table); len(o.Values)+len(o.Without) > 0 {
		d.overrides[c.Plugin.Callsign] = o
	} else {
		delete(d.overrides, c.Plugin.Callsign)
	}
	keys, _ := c.Plugin.DifferingKeys(source)
	c.Own = slices.DeleteFunc(keys, func(key string) bool { return key == "callsign" || key == "configuration" })
	c.Version = cloneVersion
}

// followAndKeepSources gives each clone the configuration of its source, and stores the
// clones that had another one before, which are returned as changed; orphaned are those
// whose source has gone. It logs failures.
func (s *Supervisor) followAndKeepSources() (changed, orphaned []string) {
	d := s.definitions
	changed, upgraded := d.followSources()
	for _, callsign := range upgraded {
		if o, ok := d.overrides[callsign]; ok {
			s.logIfNotKept(callsign, d.keptOverrides.Put(callsign, o))
		}
		s.log.Info().Str("callsign", callsign).Strs("own", d.ownKeys(d.clones[callsign])).
			Msg("this clone follows its source from now on, except for what differs already")
	}
	for _, callsign := range changed {
		s.logIfNotKept(callsign, d.keptClones.Put(callsign, d.clones[callsign]))
	}
	return changed, s.publishSources()
}

// logIfNotKept logs err, unless it is nil, as the failure to store a clone.
func (s *Supervisor) logIfNotKept(callsign string, err error) {
	if err != nil {
		s.log.Error().Err(err).Str("callsign", callsign).Msg("could not keep what this clone has from its source")
	}
}

// setNextConfigurationOfClones makes the plugins' own tables of all sources those of their
// clones, each from the clone's next activation on.
func (s *Supervisor) setNextConfigurationOfClones() {
	changed, _ := s.followAndKeepSources()
	for _, callsign := range changed {
		if sh, ok := s.Shell(callsign); ok {
			config, _ := s.definitions.config(callsign)
			sh.SetNextConfiguration(config.Configuration)
		}
	}
}
