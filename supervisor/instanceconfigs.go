package supervisor

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/rs/zerolog"

	"dormouse/configs"
	"dormouse/internal/store"
	"dormouse/shell"
)

// definitions holds the configurations from which instances are made: what the sources
// provide, the clones, and the overrides that were set at run time. All maps are by
// callsign.
type definitions struct {
	changing sync.Mutex // held while the roster or a configuration changes

	provided  map[string]providedPlugin
	clones    map[string]clone
	overrides map[string]override // also those that are not persisted

	keptClones    store.Bucket[clone]
	keptOverrides store.Bucket[override]

	// For readers that must not wait:
	cloneSources atomic.Pointer[map[string]CloneSource]
	sources      atomic.Pointer[map[string]string] // of all instances that come from one
}

// providedPlugin is a configuration with the source that provides it.
type providedPlugin struct {
	configs.Plugin
	source string
}

// recordVersion is the version of all records that the supervisor stores, except clones.
const recordVersion = 1

// loadDefinitions returns what the sources provide, and reads the clones and the persisted
// overrides from the store.
func loadDefinitions(s *store.Store, bySource map[string][]configs.Plugin) (*definitions, error) {
	d := &definitions{
		provided:   make(map[string]providedPlugin),
		keptClones: store.BucketOf[clone](s, "clones"), keptOverrides: store.BucketOf[override](s, "configurations"),
	}
	for source, plugins := range bySource {
		d.replaceProvided(source, indexByCallsign(plugins))
	}
	d.cloneSources.Store(&map[string]CloneSource{})
	d.sources.Store(&map[string]string{})
	var err error
	if d.clones, err = d.keptClones.All(); err != nil {
		return nil, err
	}
	if d.overrides, err = d.keptOverrides.All(); err != nil {
		return nil, err
	}
	return d, nil
}

// indexByCallsign returns the configurations by their callsigns.
func indexByCallsign(plugins []configs.Plugin) map[string]configs.Plugin {
	all := make(map[string]configs.Plugin, len(plugins))
	for _, p := range plugins {
		all[p.Callsign] = p
	}
	return all
}

// providedBy returns the plugins that a source provides, by their callsigns.
func (d *definitions) providedBy(source string) map[string]configs.Plugin {
	plugins := make(map[string]configs.Plugin)
	for callsign, p := range d.provided {
		if p.source == source {
			plugins[callsign] = p.Plugin
		}
	}
	return plugins
}

// replaceProvided makes plugins all that the source provides.
func (d *definitions) replaceProvided(source string, plugins map[string]configs.Plugin) {
	maps.DeleteFunc(d.provided, func(_ string, p providedPlugin) bool { return p.source == source })
	for callsign, p := range plugins {
		d.provided[callsign] = providedPlugin{p, source}
	}
}

// plugins returns the configurations of all instances, without overrides.
func (d *definitions) plugins() (all []configs.Plugin) {
	for _, callsign := range d.callsigns() {
		p, _ := d.configWithoutOverride(callsign)
		all = append(all, p)
	}
	return all
}

// dropTakenClones logs and drops each clone whose callsign, in upper or lower case, one of the
// host's built-ins has, or a source now provides as well; the clone's record stays for a host
// where that is no longer so.
func (d *definitions) dropTakenClones(builtins []Builtin, log zerolog.Logger) {
	for _, callsign := range slices.Sorted(maps.Keys(d.clones)) {
		if slices.ContainsFunc(builtins, func(b Builtin) bool { return strings.EqualFold(b.Callsign, callsign) }) {
			log.Warn().Str("callsign", callsign).Msgf("a part of this host has a clone's callsign, the clone is left out; clone %s anew by another one", d.clones[callsign].Of)
			delete(d.clones, callsign)
			continue
		}
		if taken, found := findEqualFold(d.provided, callsign); found {
			log.Warn().Str("callsign", callsign).Msgf("%s names a clone's callsign, the clone is left out", sourceText(taken.source))
			delete(d.clones, callsign)
		}
	}
}

// callsigns returns the callsigns of all provided instances, sorted, and then of all clones.
func (d *definitions) callsigns() []string {
	return append(slices.Sorted(maps.Keys(d.provided)), slices.Sorted(maps.Keys(d.clones))...)
}

// config returns the configuration that an instance is to have, with its override; false
// if the instance is neither provided nor a clone.
func (d *definitions) config(callsign string) (config configs.Plugin, found bool) {
	p, found := d.configWithoutOverride(callsign)
	return d.withOverride(p), found
}

// configWithoutOverride returns the configuration of an instance as its source provides it, or
// as a clone has it from its source; false if the instance is neither provided nor a clone.
func (d *definitions) configWithoutOverride(callsign string) (config configs.Plugin, found bool) {
	if p, ok := d.provided[callsign]; ok {
		return p.Plugin, true
	}
	c, ok := d.clones[callsign]
	return c.Plugin, ok
}

// withOverride returns p with the override that was set for its callsign, if any.
func (d *definitions) withOverride(p configs.Plugin) configs.Plugin {
	if o, ok := d.overrides[p.Callsign]; ok {
		p.Configuration = o.appliedTo(p.Configuration)
	}
	return p
}

// waitAndBeginChange waits until no other change of the roster or of a configuration is
// under way, and begins one; done ends the change. The error wraps shell.ErrUnavailable
// once the host stops.
func (s *Supervisor) waitAndBeginChange() (done func(), err error) {
	s.definitions.changing.Lock()
	if s.isStopping() {
		s.definitions.changing.Unlock()
		return nil, fmt.Errorf("%w: the host is shutting down", shell.ErrUnavailable)
	}
	return s.definitions.changing.Unlock, nil
}
