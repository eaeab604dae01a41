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

// definitions holds the configurations from which instances are made: those of the
// files, of the clones, and the overrides that were set at run time. All maps are by
// callsign.
type definitions struct {
	changing sync.Mutex // held while the roster or a configuration changes

	files     map[string]configs.Plugin
	clones    map[string]clone
	overrides map[string]override // also those that are not persisted

	keptClones    store.Bucket[clone]
	keptOverrides store.Bucket[override]

	sources atomic.Pointer[map[string]CloneSource] // of the clones, for readers that must not wait
}

// recordVersion is the version of all records that the supervisor stores, except clones.
const recordVersion = 1

// loadDefinitions returns the configurations of the files, and reads the clones and the
// persisted overrides from the store.
func loadDefinitions(s *store.Store, plugins []configs.Plugin) (*definitions, error) {
	d := &definitions{
		files:      indexByCallsign(plugins),
		keptClones: store.BucketOf[clone](s, "clones"), keptOverrides: store.BucketOf[override](s, "configurations"),
	}
	d.sources.Store(&map[string]CloneSource{})
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

// dropTakenClones logs and drops each clone whose callsign, in upper or lower case, a file
// now names as well; the clone's record stays for a host whose files no longer do so.
func (d *definitions) dropTakenClones(log zerolog.Logger) {
	for _, callsign := range slices.Sorted(maps.Keys(d.clones)) {
		taken := func(file string) bool { return strings.EqualFold(file, callsign) }
		if slices.ContainsFunc(slices.Collect(maps.Keys(d.files)), taken) {
			log.Warn().Str("callsign", callsign).Msg("the configuration names a clone's callsign, the clone is left out")
			delete(d.clones, callsign)
		}
	}
}

// callsigns returns the callsigns of all instances of the files, sorted, and then of all
// clones.
func (d *definitions) callsigns() []string {
	return append(slices.Sorted(maps.Keys(d.files)), slices.Sorted(maps.Keys(d.clones))...)
}

// config returns the configuration that an instance is to have, with its override; false
// if the instance is neither in a file nor a clone.
func (d *definitions) config(callsign string) (config configs.Plugin, found bool) {
	p, found := d.configWithoutOverride(callsign)
	return d.withOverride(p), found
}

// configWithoutOverride returns the configuration of an instance as the file has it, or as
// a clone has it from its source; false if the instance is neither in a file nor a clone.
func (d *definitions) configWithoutOverride(callsign string) (config configs.Plugin, found bool) {
	if p, ok := d.files[callsign]; ok {
		return p, true
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
