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

// Configure replaces the plugin's own configuration, a JSON object, of an instance that
// neither runs nor sleeps. The new one holds until the host ends, or longer if
// PersistConfiguration is called. The error wraps ErrUnknown, ErrNotAnObject,
// shell.ErrIllegalState, or shell.ErrUnavailable once the host stops.
func (s *Supervisor) Configure(ctx context.Context, callsign string, raw json.RawMessage) error {
	done, err := s.waitAndBeginChange()
	if err != nil {
		return fmt.Errorf("cannot configure: %w", err)
	}
	defer done()
	sh, ok := s.Shell(callsign)
	if !ok {
		return fmt.Errorf("cannot configure: %w: %q", ErrUnknown, callsign)
	}
	values, err := decodeJSONObject(raw)
	if err != nil {
		return fmt.Errorf("cannot configure %s: %w", callsign, err)
	}
	config := sh.Config()
	config.Configuration = values
	if err := sh.Configure(ctx, config); err != nil {
		return err
	}
	s.definitions.overrides[callsign] = override{recordVersion, slices.Clone(raw)}
	return nil
}

// PersistConfiguration keeps the configuration that Configure has set across restarts of
// the host, for one instance or, if callsignOrAll is empty, for all. The error may wrap
// ErrUnknown.
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
// configuration of the file, or the one that the clone was made with; a running plugin
// keeps its present one. The error may wrap ErrUnknown.
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
		return nil
	})
}

// forEachOverride runs work for the instance callsignOrAll, even without an override, or, if
// that is empty, for each callsign that has an override; sh is nil if no instance has that
// callsign. It stops at the first error. No other change is under way meanwhile.
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
			return fmt.Errorf("cannot %s: %w: %q", verbOfError, ErrUnknown, c)
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
