package monitor

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// settings is the configuration of one observable.
type settings struct {
	callsign string
	// memory and operational are the intervals of measuring and of health checks; 0
	// means never.
	memory, operational time.Duration
	// memoryLimit is in bytes; 0 means no limit.
	memoryLimit int64
	// observeOnly says that a failed health check is only reported.
	observeOnly bool
	restart     *limits // nil: the monitor does not restart the instance
}

// limits is how often an observable may be restarted within a window of seconds. A
// Limit of 0 is no limit, a Window of 0 is all time.
type limits struct {
	Limit  int64 `json:"limit"`
	Window int64 `json:"window"`
}

// The largest values that Thunder accepts.
const (
	maxLimit   = 255
	maxWindow  = 65535
	maxSeconds = 1<<31 - 1
	maxKiB     = 1<<32 - 1
)

// readSettings returns the settings of all observables in the instance's configuration. The
// error names the observable that is wrong or listed twice.
func readSettings(raw json.RawMessage) ([]settings, error) {
	var list []json.RawMessage
	err := readOnlyKnownMembers(raw, members{"observables": func(raw json.RawMessage) error {
		if json.Unmarshal(raw, &list) != nil {
			return errors.New("must be a list")
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	var all []settings
	for i, raw := range list {
		s, err := readObservableSettings(raw)
		if err == nil && slices.ContainsFunc(all, func(o settings) bool { return o.callsign == s.callsign }) {
			err = errors.New("it is listed twice")
		}
		if err != nil {
			return nil, fmt.Errorf("observable %s: %w", observableNameForError(raw, i+1), err)
		}
		all = append(all, s)
	}
	return all, nil
}

// observableNameForError returns the callsign of an observable, or its place in the list,
// counted from 1, for an error.
func observableNameForError(raw json.RawMessage, place int) string {
	var named struct {
		Callsign string `json:"callsign"`
	}
	if json.Unmarshal(raw, &named) != nil || named.Callsign == "" {
		return strconv.Itoa(place)
	}
	return named.Callsign
}

// readObservableSettings returns the settings of one observable, or an error if they are
// incomplete or leave the monitor nothing to do.
func readObservableSettings(raw json.RawMessage) (settings, error) {
	var s settings
	var memory, kib, operational int64
	err := readOnlyKnownMembers(raw, members{
		"callsign":    nonEmptyTextReader(&s.callsign),
		"memory":      numberReader(&memory, 0, maxSeconds),
		"memorylimit": numberReader(&kib, 0, maxKiB),
		"operational": numberReader(&operational, -maxSeconds, maxSeconds),
		"restart":     limitsReader(&s.restart, readOnlyKnownMembers),
	})
	s.memory = time.Duration(memory) * time.Second
	s.memoryLimit = kib << 10
	s.observeOnly = operational < 0
	s.operational = time.Duration(max(operational, -operational)) * time.Second
	switch {
	case err != nil:
		return s, err
	case s.callsign == "":
		return s, errors.New("callsign is missing")
	case s.memoryLimit != 0 && s.memory == 0:
		return s, errors.New("memorylimit needs memory, the seconds between two measurements")
	case s.memory == 0 && s.operational == 0 && s.restart == nil:
		return s, errors.New("there is nothing to do: set memory, operational or restart")
	}
	return s, nil
}

// readRestartLimits returns the restart limits in a JSON object, which read decodes and
// which must have both limit and window.
func readRestartLimits(raw json.RawMessage, read objectReader) (*limits, error) {
	l := limits{Limit: -1, Window: -1}
	err := read(raw, members{"limit": numberReader(&l.Limit, 0, maxLimit), "window": numberReader(&l.Window, 0, maxWindow)})
	switch {
	case err != nil:
		return nil, err
	case l.Limit < 0:
		return nil, errors.New("limit is missing")
	case l.Window < 0:
		return nil, errors.New("window is missing")
	}
	return &l, nil
}

// members holds the functions that decode the members of a JSON object, by name.
type members map[string]func(json.RawMessage) error

// objectReader decodes the members of a JSON object in the order of their names, each by
// its function in known. A member of known may be missing.
type objectReader func(raw json.RawMessage, known members) error

// readOnlyKnownMembers is the objectReader of configurations. A member that known does not
// have is an error.
func readOnlyKnownMembers(raw json.RawMessage, known members) error {
	return readMembers(raw, known, func(name string) error {
		return fmt.Errorf("%q is unknown, there is only %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
	})
}

// readKnownMembers is the objectReader of calls. A member that known does not have is
// ignored, as in Thunder.
func readKnownMembers(raw json.RawMessage, known members) error {
	return readMembers(raw, known, func(string) error { return nil })
}

// readMembers decodes a JSON object as an objectReader does. It calls unknown for each
// member that known does not have.
func readMembers(raw json.RawMessage, known members, unknown func(name string) error) error {
	var given map[string]json.RawMessage
	if json.Unmarshal(raw, &given) != nil || given == nil {
		return errors.New("must be an object")
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		read, ok := known[name]
		if !ok {
			read = func(json.RawMessage) error { return unknown(name) }
		}
		switch err := read(given[name]); {
		case err != nil && ok:
			return fmt.Errorf("%s: %w", name, err)
		case err != nil:
			return err
		}
	}
	return nil
}

// nonEmptyTextReader returns a function that decodes a JSON string, which must not be
// empty, and sets *into to it.
func nonEmptyTextReader(into *string) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		if json.Unmarshal(raw, into) != nil || *into == "" {
			return errors.New("must be a text")
		}
		return nil
	}
}

// numberReader returns a function that decodes a whole number from least to most, and sets
// *into to it. As in Thunder, the number may be in a string.
func numberReader(into *int64, least, most int64) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		n, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
		if err != nil || n != float64(int64(n)) || int64(n) < least || int64(n) > most {
			return fmt.Errorf("must be a whole number from %d to %d, not %.40s", least, most, raw)
		}
		*into = int64(n)
		return nil
	}
}
