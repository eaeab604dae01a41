package supervisor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"dormouse/shell"
)

// override is what Configure has set in the plugin's own configuration of one instance.
type override struct {
	Version int `json:"version"`
	// Values replace the configuration as a whole, unless Partly is set.
	Values map[string]any `json:"configuration"`
	// Partly is set for a clone: Values then replace members of what the clone has from its
	// source, and Without are the members that the clone does not have.
	Partly  bool     `json:"partly,omitempty"`
	Without []string `json:"without,omitempty"`
}

// UnmarshalJSON keeps numbers as they are written. The error may be ErrNotAnObject.
func (o *override) UnmarshalJSON(raw []byte) (err error) {
	type plain override
	p := struct {
		*plain
		JSON json.RawMessage `json:"configuration"`
	}{plain: (*plain)(o)}
	if err := json.Unmarshal(raw, &p); err != nil {
		return err
	}
	o.Values, err = decodeJSONObject(p.JSON)
	return err
}

// partialOverride returns the override that makes the configuration "wanted" of "from",
// with only what differs as JSON.
func partialOverride(from, wanted map[string]any) override {
	o := override{Version: recordVersion, Partly: true, Values: make(map[string]any)}
	for member, value := range wanted {
		if before, ok := from[member]; !ok || !isSameJSON(before, value) {
			o.Values[member] = value
		}
	}
	for member := range from {
		if _, ok := wanted[member]; !ok {
			o.Without = append(o.Without, member)
		}
	}
	slices.Sort(o.Without)
	return o
}

// appliedTo returns the configuration with the override. The result may share its members
// with both.
func (o override) appliedTo(configuration map[string]any) map[string]any {
	if !o.Partly {
		return o.Values
	}
	now := make(map[string]any, len(configuration)+len(o.Values))
	maps.Copy(now, configuration)
	maps.Copy(now, o.Values)
	for _, member := range o.Without {
		delete(now, member)
	}
	return now
}

// isSameJSON reports whether two values are the same JSON. One that is not JSON differs from
// all.
func isSameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// Configure replaces the plugin's own configuration, a JSON object, of an instance that
// neither runs nor sleeps. The new one holds until the host ends, or longer if
// PersistConfiguration is called. Of a clone only the members that differ from its source's
// are then its own; all others go on following the source. The clones of the instance
// follow at their next activation. The error wraps ErrUnknown, ErrNotAnObject,
// shell.ErrIllegalState, or shell.ErrUnavailable once the host stops.
func (s *Supervisor) Configure(ctx context.Context, callsign string, raw json.RawMessage) error {
	done, err := s.waitAndBeginChange()
	if err != nil {
		return fmt.Errorf("cannot configure: %w", err)
	}
	defer done()
	sh, ok := s.Shell(callsign)
	if !ok {
		return fmt.Errorf("cannot configure: %w", s.UnknownError(callsign))
	}
	if sh.IsVirtual() {
		return fmt.Errorf("cannot configure %s: %w: %w; its plugin sets the configuration, configure %s", callsign, shell.ErrIllegalState, shell.ErrVirtual, sh.Parent())
	}
	values, err := decodeJSONObject(raw)
	if err == nil {
		err = s.checkNotBeingReplaced(callsign)
	}
	if err != nil {
		return fmt.Errorf("cannot configure %s: %w", callsign, err)
	}
	config := sh.Config()
	config.Configuration = values
	if err := sh.Configure(ctx, config); err != nil {
		return err
	}
	o := override{Version: recordVersion, Values: values}
	if c, ok := s.definitions.clones[callsign]; ok {
		o = partialOverride(c.Plugin.Configuration, values)
	}
	s.definitions.overrides[callsign] = o
	s.setNextConfigurationOfClones()
	return nil
}

// PersistConfiguration keeps the configuration that Configure has set across restarts of
// the host, for one instance or, if callsignOrAll is empty, for all. Of a clone that is what
// was set on the clone itself. The error may wrap ErrUnknown.
func (s *Supervisor) PersistConfiguration(_ context.Context, callsignOrAll string) error {
	return s.forEachOverride(callsignOrAll, "persist", func(callsign string, _ *shell.Shell) error {
		if o, ok := s.definitions.overrides[callsign]; ok {
			return s.definitions.keptOverrides.Put(callsign, o)
		}
		return nil
	})
}

// RestoreConfiguration deletes the configuration that Configure has set, persisted or not,
// for one instance or, if callsignOrAll is empty, for all. The next activation uses the
// configuration of the file or of the clone's source, as do those of the instance's clones; a
// running plugin keeps its present one. The error may wrap ErrUnknown.
func (s *Supervisor) RestoreConfiguration(_ context.Context, callsignOrAll string) error {
	return s.forEachOverride(callsignOrAll, "restore", func(callsign string, sh *shell.Shell) error {
		if _, ok := s.definitions.overrides[callsign]; !ok {
			return nil
		}
		if err := s.definitions.keptOverrides.Delete(callsign); err != nil {
			return err
		}
		delete(s.definitions.overrides, callsign)
		if original, ok := s.definitions.configWithoutOverride(callsign); ok && sh != nil {
			sh.SetNextConfiguration(original.Configuration)
		}
		s.setNextConfigurationOfClones()
		return nil
	})
}

// forEachOverride runs work for the instance callsignOrAll, even without an override, or, if
// that is empty, for each callsign that has an override, except those of missing instances;
// sh is nil if no instance has that callsign. It stops at the first error. No other change is under way meanwhile.
func (s *Supervisor) forEachOverride(callsignOrAll, verbOfError string, work func(callsign string, sh *shell.Shell) error) error {
	done, err := s.waitAndBeginChange()
	if err != nil {
		return fmt.Errorf("cannot %s: %w", verbOfError, err)
	}
	defer done()
	callsigns := []string{callsignOrAll}
	if callsignOrAll == "" {
		callsigns = slices.Sorted(maps.Keys(s.definitions.overrides))
	}
	for _, c := range callsigns {
		sh, ok := s.Shell(c)
		if !ok && callsignOrAll != "" {
			return fmt.Errorf("cannot %s: %w", verbOfError, s.UnknownError(c))
		}
		if !ok && s.IsMissing(c) {
			continue
		}
		if err := s.checkNotBeingReplaced(c); err != nil {
			return fmt.Errorf("cannot %s the configuration: %w", verbOfError, err)
		}
		if err := work(c, sh); err != nil {
			return fmt.Errorf("cannot %s the configuration: %w", verbOfError, err)
		}
	}
	return nil
}

// decodeJSONObject returns the members of a JSON object, with numbers as they are
// written. The error is ErrNotAnObject.
func decodeJSONObject(raw json.RawMessage) (map[string]any, error) {
	var values map[string]any
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(&values); err != nil || values == nil {
		return nil, ErrNotAnObject
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, ErrNotAnObject
	}
	return values, nil
}
