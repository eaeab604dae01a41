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

// settings is what the configuration says of one observable.
type settings struct {
	callsign string
	// memory and operational are the intervals of the two polls; 0 means never.
	memory, operational time.Duration
	// memoryLimit is in bytes; 0 means none.
	memoryLimit int64
	// observeOnly means that an observable that does not answer is only reported,
	// and never restarted.
	observeOnly bool
	restart     *limits // nil when it is not to be restarted
}

// limits say how often an observable is restarted within how many seconds. No
// limit and no window are 0.
type limits struct {
	Limit  int64 `json:"limit"`
	Window int64 `json:"window"`
}

// Thunder's integers.
const (
	maxLimit   = 255
	maxWindow  = 65535
	maxSeconds = 1<<31 - 1
	maxKiB     = 1<<32 - 1
)

func readSettings(raw json.RawMessage) ([]settings, error) {
	var list []json.RawMessage
	err := readMembers(raw, members{"observables": func(raw json.RawMessage) error {
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
		s, err := readObservable(raw)
		if err == nil && slices.ContainsFunc(all, func(o settings) bool { return o.callsign == s.callsign }) {
			err = errors.New("it is listed twice")
		}
		if err != nil {
			return nil, fmt.Errorf("observable %s: %w", nameOf(raw, i+1), err)
		}
		all = append(all, s)
	}
	return all, nil
}

// nameOf is what an error calls an observable: its callsign, or its place.
func nameOf(raw json.RawMessage, place int) string {
	var named struct {
		Callsign string `json:"callsign"`
	}
	if json.Unmarshal(raw, &named) != nil || named.Callsign == "" {
		return strconv.Itoa(place)
	}
	return named.Callsign
}

func readObservable(raw json.RawMessage) (settings, error) {
	var s settings
	var memory, kib, operational int64
	err := readMembers(raw, members{
		"callsign":    text(&s.callsign),
		"memory":      number(&memory, 0, maxSeconds),
		"memorylimit": number(&kib, 0, maxKiB),
		"operational": number(&operational, -maxSeconds, maxSeconds),
		"restart": func(raw json.RawMessage) (err error) {
			s.restart, err = readLimits(raw)
			return err
		},
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

func readLimits(raw json.RawMessage) (*limits, error) {
	l := limits{Limit: -1, Window: -1}
	err := readMembers(raw, members{"limit": number(&l.Limit, 0, maxLimit), "window": number(&l.Window, 0, maxWindow)})
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

// members says how the members of a JSON object are read; there are no others.
type members map[string]func(json.RawMessage) error

func readMembers(raw json.RawMessage, known members) error {
	var given map[string]json.RawMessage
	if json.Unmarshal(raw, &given) != nil || given == nil {
		return errors.New("must be an object")
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		read, ok := known[name]
		if !ok {
			return fmt.Errorf("%q is unknown, there is only %s", name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
		}
		if err := read(given[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func text(into *string) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		if json.Unmarshal(raw, into) != nil || *into == "" {
			return errors.New("must be a text")
		}
		return nil
	}
}

// number also takes what Thunder takes: a number as a text.
func number(into *int64, least, most int64) func(json.RawMessage) error {
	return func(raw json.RawMessage) error {
		n, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
		if err != nil || n != float64(int64(n)) || int64(n) < least || int64(n) > most {
			return fmt.Errorf("must be a whole number from %d to %d, not %.40s", least, most, raw)
		}
		*into = int64(n)
		return nil
	}
}
