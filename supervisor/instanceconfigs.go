package supervisor

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

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
}

// recordVersion is the version of all records that the supervisor stores.
const recordVersion = 1

// clone is an instance that was made at run time, from a copy of another's
// configuration.
type clone struct {
	Version int            `json:"version"`
	Of      string         `json:"of"`
	Plugin  configs.Plugin `json:"plugin"`
}

// override is the configuration that Configure has set in place of the plugin's own
// configuration of one instance.
type override struct {
	Version int             `json:"version"`
	JSON    json.RawMessage `json:"configuration"`
}

// UnmarshalJSON gives keys that are missing in a record of an earlier version their
// defaults, and keeps numbers as they are written.
func (c *clone) UnmarshalJSON(raw []byte) error {
	type plain clone
	p := plain{Plugin: configs.DefaultPlugin()}
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	err := decoder.Decode(&p)
	*c = clone(p)
	return err
}

// loadDefinitions returns the configurations of the files, and reads the clones and the
// persisted overrides from the store.
func loadDefinitions(s *store.Store, plugins []configs.Plugin) (*definitions, error) {
	d := &definitions{
		files:      indexByCallsign(plugins),
		keptClones: store.BucketOf[clone](s, "clones"), keptOverrides: store.BucketOf[override](s, "configurations"),
	}
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

// dropTakenClonesAndListConfigs returns the configurations of the clones, sorted by
// callsign. It logs and drops a clone whose callsign, in upper or lower case, a file now
// names as well; the clone's record stays for a host whose files no longer do so.
func (d *definitions) dropTakenClonesAndListConfigs(log zerolog.Logger) (plugins []configs.Plugin) {
	for _, callsign := range slices.Sorted(maps.Keys(d.clones)) {
		taken := func(file string) bool { return strings.EqualFold(file, callsign) }
		if slices.ContainsFunc(slices.Collect(maps.Keys(d.files)), taken) {
			log.Warn().Str("callsign", callsign).Msg("the configuration names a clone's callsign, the clone is left out")
			delete(d.clones, callsign)
			continue
		}
		plugins = append(plugins, d.clones[callsign].Plugin)
	}
	return plugins
}

// configWithoutOverride returns the configuration of an instance as the file has it, or as
// the clone was made; false if the instance is neither in a file nor a clone.
func (d *definitions) configWithoutOverride(callsign string) (config configs.Plugin, found bool) {
	if p, ok := d.files[callsign]; ok {
		return p, true
	}
	c, ok := d.clones[callsign]
	return c.Plugin, ok
}

// configWithOverride returns p with the override that was set for its callsign, if any. An
// override that is not a JSON object is an error.
func (d *definitions) configWithOverride(p configs.Plugin) (configs.Plugin, error) {
	o, ok := d.overrides[p.Callsign]
	if !ok {
		return p, nil
	}
	values, err := decodeJSONObject(o.JSON)
	if err != nil {
		return p, fmt.Errorf("cannot use what was persisted for %s: %w", p.Callsign, err)
	}
	p.Configuration = values
	return p, nil
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
